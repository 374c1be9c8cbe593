"""Ask every address elsewhere that the built site links to whether it is still there.

    make links     # after make book; some minutes, for one host is not asked by two at a time

What does not answer is listed with the pages that link to it, and the command fails. Where the fault may pass, as that
of a busy host, we ask again. The addresses of the project itself are left out: the tests hold them against the files.
"""

from __future__ import annotations

import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import address  # noqa: E402

SITE = ROOT / "_build" / "html"
# They answer people only: look at a new link to them yourself.
REFUSE = ("https://dl.acm.org/", "https://www.science.org/", "https://www.sciencedirect.com/")
# So do many publishers, to whom a DOI leads; whether there is such a DOI, its register tells everybody.
REGISTER = ("https://doi.org/", "https://doi.org/api/handles/")
HEADERS = {"User-Agent": "Mozilla/5.0 (link check of a book)", "Accept": "text/html,*/*"}
WAITS = (5, 60)  # seconds before the second try, and before the third
PAUSE = 1  # seconds between two addresses of a host


def left_out(of: address.Project) -> tuple[str, ...]:
    """How the addresses begin that are not asked."""
    colab = of.colab("").removesuffix(f"/blob/{of.tag}/")
    return (of.site, of.repository, colab, *REFUSE)


def outside_links(site: Path, without: tuple[str, ...]) -> dict[str, set[str]]:
    """Every address elsewhere, each with the pages that link to it, but for those that begin with one of some words."""
    found = defaultdict(set)
    for page in sorted(site.rglob("*.html")):
        for tag in BeautifulSoup(page.read_text(encoding="utf8"), "html.parser").select("a[href]"):
            url = tag["href"].partition("#")[0]
            if re.match("https?://", url) and not url.startswith(without):
                found[url].add(page.relative_to(site).as_posix())
    return found


def fault(url: str) -> str:
    """What keeps an address from answering; empty if it answers, be it from another place."""
    for wait in (0, *WAITS):
        time.sleep(wait)
        try:
            with urlopen(Request(url.replace(*REGISTER), headers=HEADERS), timeout=30):
                return ""
        except HTTPError as error:
            why = f"{error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                break
        except (OSError, HTTPException, ValueError) as error:
            why = str(error)
    return why


def faults(urls: Iterable[str]) -> dict[str, str]:
    """What is wrong with those of some addresses that do not answer, each host being asked one thing after another."""
    hosts = defaultdict(list)
    for url in sorted(urls):
        hosts[url.split("/")[2]].append(url)

    def ask(of_host: list[str]) -> dict[str, str]:
        found = {}
        for url in of_host:
            found[url] = fault(url)
            time.sleep(PAUSE)
        return found

    with ThreadPoolExecutor(8) as pool:
        return {url: why for found in pool.map(ask, hosts.values()) for url, why in found.items() if why}


def main() -> None:
    """Ask, list what does not answer, and fail if there is any."""
    links = outside_links(SITE, left_out(address.project()))
    if not links:
        sys.exit("No site is built whose links could be asked: `make book` first.")
    wrong = faults(links)
    for url, why in wrong.items():
        print(f"{url}: {why}, linked from {', '.join(sorted(links[url]))}")
    print(f"{len(links)} addresses, of which {len(wrong)} do not answer.")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
