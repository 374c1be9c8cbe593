"""Make the pages of the site lighter: no script twice, none unused, and none that keeps a reader waiting.

And mend, for those who hear a page, what the theme and docutils leave: see `AUDIBLE`. And what is about the whole site:
its front door, and the page that a host shows in the place of one that is not there.
"""

import re
from pathlib import Path
from urllib.parse import urlsplit

NOT_NEEDED = re.compile(  # the icon font is enough; what a page calls for in its head need not come first
    r'<script defer src="[^"]*/scripts/fontawesome\.js[^"]*"></script>|<link rel="preload" as="script"[^>]*>\n?'
)
OF_SEARCH = re.compile(
    r'<script src="[^"]*(?:sphinx_highlight|searchtools|language_data|searchindex)\.js[^"]*"></script>\s*'
)
OPTIONS = re.compile(r'<script src="[^"]*documentation_options\.js[^"]*"></script>')
CAN_WAIT = re.compile(
    r'<script ((?:data-[\w-]+="[^"]*" )?src="[^"]*(?:doctools|clipboard\.min|copybutton|sphinx-book-theme'
    r'|togglebutton|design-tabs)\.js[^"]*")>'
)
FOR_FORMULAS = re.compile(
    r"(<script>window\.MathJax = .*)(</script>\s*<script [^>]*/mathjax/[^>]*></script>\s*)"
)
# Formulas are set a few at a time, and the page answers in between.
IN_TURN = """
window.MathJax.startup = {
    async pageReady() {
        const formulas = [...document.querySelectorAll(".math, .output_area")];
        while (formulas.length) {
            await MathJax.typesetPromise(formulas.splice(0, 8));
            await new Promise((resume) => setTimeout(resume));
        }
    },
};
"""

AUDIBLE = [
    # The side bar, with the name of the book in it, is a landmark.
    (r'<div id="pst-primary-sidebar"', r'\g<0> role="navigation" aria-label="Book"'),
    # An entry of the bibliography has a role that browsers have given up, in a list of other things.
    (r' role="doc-biblioentry"| role="list"(?= class="citation-list")', ""),
    # A table's corner without a word heads nothing.
    (r'<th class="(head[^"]*)">(?:<p></p>)?</th>', r'<td class="\1"></td>'),
    # What unfolds the pages below one in the side bar is an arrow without a word.
    (r'<summary>(?=<span class="toctree-toggle")', '<summary aria-label="Pages below this one">'),
    # The arguments of a signature on several lines are no list of definitions.
    (r'(<span class="sig-paren">\(</span>)\s*<dl>', r'\1<span class="sig-lines">'),
    (r'<dd>(<em class="sig-param">.*)</dd>', r'<span class="sig-line">\1</span>'),
    (r'</dl>\s*(<span class="sig-paren">\))', r"</span>\1"),
]

# Follow the theme of the system at once, not when the script for it comes; and print in the light one.
THEME = """{
    const look = document.documentElement.dataset;
    if (look.mode === "auto") look.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    let theme;
    addEventListener("beforeprint", () => { theme = look.theme; look.theme = "light"; });
    addEventListener("afterprint", () => { look.theme = theme; });
}"""

FRONT_DOOR = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
{tags}
<meta http-equiv="refresh" content="0; url={first}">
<a href="{first}">{title}</a>
</html>
"""
SHARED = re.compile(
    r'<title>.*?</title>|<link rel="canonical"[^>]*>|<meta (?:property|name="(?:description|twitter:))[^>]*>'
)


def each_script_once(app, pagename, templatename, context, doctree) -> None:
    """Drop Thebe, which is not used here, and inline scripts that came in twice."""
    seen, keep = set(), []
    for script in context.get("script_files", []):
        body = getattr(script, "attributes", {}).get("body")
        name = str(getattr(script, "filename", script))
        if "thebe" in name or (body and ("THEBE_JS_URL" in body or body in seen)):
            continue
        seen.add(body)
        keep.append(script)
    context["script_files"] = keep


def each_head(app, pagename, templatename, context, doctree) -> None:
    """A title that does not say the same twice, and addresses that hold at any depth where a page needs it."""
    if context.get("title") == context["docstitle"]:
        context["docstitle"] = ""
    if pagename == "404":  # a host shows it in the place of any page
        base = urlsplit(app.config.html_baseurl).path + "404.html"
        context["metatags"] = f'<base href="{base}" />' + context.get("metatags", "")


def front_door(app, exception) -> None:
    """The root of the site leads to the first page; a link to it is shared with the card of that page."""
    if exception or app.builder.format != "html":
        return
    first = app.builder.get_target_uri(app.config.root_doc)
    tags = "\n".join(SHARED.findall(Path(app.outdir, first).read_text(encoding="utf8")))
    page = FRONT_DOOR.format(tags=tags, first=first, title=app.config.project)
    Path(app.outdir, "index.html").write_text(page, encoding="utf8")


def light_scripts(app, exception) -> None:
    """Drop scripts that a page does not use, and let the others wait for the page."""
    if exception or app.builder.format != "html":
        return
    options = Path(app.outdir, "_static", "documentation_options.js").read_text(encoding="utf8")
    for page in Path(app.outdir).rglob("*.html"):
        old = page.read_text(encoding="utf8")
        new = NOT_NEEDED.sub("", old)
        for what, instead in AUDIBLE:
            new = re.sub(what, instead, new)
        if page.name != "search.html":  # its own inline script needs the others at once
            new = CAN_WAIT.sub(r"<script defer \1>", OF_SEARCH.sub("", new))
        new = OPTIONS.sub(lambda _: f"<script>{options}</script>", new)
        new = FOR_FORMULAS.sub(rf"\1{IN_TURN}\2" if 'class="math ' in new else "", new)
        if new != old:
            page.write_text(new, encoding="utf8")


def sources_without_git(app, env) -> None:
    """Where there is no git, a page has no date, but it still has a source, which its buttons lead to."""
    for page, known in env.git_last_updated.items():
        env.git_last_updated[page] = known or (None, True)


def setup(app):
    app.add_js_file(None, body=THEME)
    app.connect(
        "html-page-context", each_script_once, priority=900
    )  # after the theme has added its own
    app.connect("html-page-context", each_head, priority=900)
    app.connect("env-updated", sources_without_git, priority=900)  # after the dates were sought
    app.connect("build-finished", light_scripts)
    app.connect("build-finished", front_door)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
