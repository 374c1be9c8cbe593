"""The check of links, held against a server of our own that answers, moves, fails, recovers and refuses."""

import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "book" / "_tools"))
import links

ANSWERS = {"/good": [200], "/moved": [301], "/lost": [302], "/gone": [404], "/shut": [403], "/busy": [503, 429, 200]}
ANSWERS |= {"/down": [500], "/api/handles/10.1/there": [200], "/api/handles/10.1/not": [404]}
LEADS = {"/moved": "/good", "/lost": "/gone"}


@pytest.fixture(scope="module")
def host():
    """An address whose paths answer as listed, the last answer over and over; and how often each path was asked."""
    asked = Counter()

    class Host(BaseHTTPRequestHandler):
        def do_GET(self):
            answers = ANSWERS[self.path]
            self.send_response(answers[min(asked[self.path], len(answers) - 1)])
            asked[self.path] += 1
            if self.path in LEADS:
                self.send_header("Location", LEADS[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Three tries without waiting."""
    monkeypatch.setattr(links, "WAITS", (0, 0))
    monkeypatch.setattr(links, "PAUSE", 0)


@pytest.mark.parametrize(
    "path, why, times",
    [
        ("/good", "", 1),
        ("/moved", "", 1),
        ("/lost", "404 Not Found", 1),
        ("/gone", "404 Not Found", 1),
        ("/shut", "403 Forbidden", 1),
        ("/busy", "", 3),
        ("/down", "500 Internal Server Error", 3),
    ],
)
def test_an_address_answers_or_it_is_said_why_not(host, path, why, times):
    address, asked = host
    asked.clear()
    assert links.fault(address + path) == why
    assert asked[path] == times


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[/", "http://127.0.0.1:port/"])
def test_a_host_that_cannot_be_there_is_a_fault(url):
    assert links.faults([url])[url]


def test_of_a_doi_the_register_is_asked(host, monkeypatch):
    address, _ = host
    monkeypatch.setattr(links, "REGISTER", ("https://doi.org/", f"{address}/api/handles/"))
    assert links.faults(f"https://doi.org/10.1/{name}" for name in ("there", "not")) == {
        "https://doi.org/10.1/not": "404 Not Found"
    }


@pytest.fixture
def site(host, tmp_path, monkeypatch):
    """A built site of two pages that link to the host, to the project and to each other; writes more into the first."""

    def write(*paths):
        hrefs = [*paths, "two.html", "#here", "mailto:a@b.org", of.site, f"{of.repository}/issues", of.colab("x.ipynb")]
        hrefs.append(links.REFUSE[0] + "doi/1")
        (tmp_path / "chapters").mkdir(exist_ok=True)
        (tmp_path / "one.html").write_text("".join(f'<a href="{href}">a</a>' for href in hrefs), encoding="utf8")
        (tmp_path / "chapters" / "two.html").write_text(f'<a href="{host[0]}/good#there">ä</a>', encoding="utf8")

    of = links.address.project()
    monkeypatch.setattr(links, "SITE", tmp_path)
    return write


def test_each_address_elsewhere_is_found_once_with_its_pages(host, site, tmp_path):
    good, gone = (host[0] + path for path in ("/good", "/gone"))
    site(good, gone)
    found = links.outside_links(tmp_path, links.left_out(links.address.project()))
    assert found == {good: {"one.html", "chapters/two.html"}, gone: {"one.html"}}


def test_a_site_whose_links_answer_passes_and_another_fails(host, site, capsys):
    site(host[0] + "/moved")
    with pytest.raises(SystemExit) as ended:
        links.main()
    assert not ended.value.code and capsys.readouterr().out == "2 addresses, of which 0 do not answer.\n"
    site(host[0] + "/gone")
    with pytest.raises(SystemExit) as ended:
        links.main()
    first, last = capsys.readouterr().out.splitlines()
    assert ended.value.code and first == f"{host[0]}/gone: 404 Not Found, linked from one.html"
    assert last == "2 addresses, of which 1 do not answer."


def test_without_a_site_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(links, "SITE", tmp_path)
    with pytest.raises(SystemExit, match="make book"):
        links.main()
