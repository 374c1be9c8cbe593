"""Let a reference find what a package offers by a shorter name than the module it is written in.

`fslib.data.image_set.ImageSet` is documented, and imported by readers, as `fslib.data.ImageSet`,
but type hints name the former.
"""


def shorten(app, env, node, contnode):
    """Try the name again without the module just before it."""
    if node.get("refdomain") != "py":
        return None
    parts = node.get("reftarget", "").split(".")
    if parts[0] != "fslib" or len(parts) < 3:
        return None
    short = ".".join([*parts[:-2], parts[-1]])
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", short, node, contnode)


def setup(app):
    app.connect("missing-reference", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
