"""What a page holds, and whether it refers to anything outside itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "path", "use", "line", "rect"}


class Page(HTMLParser):
    """Collects elements and texts, and checks that every element that is opened is closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def refers_outside(text: str) -> list[str]:
    """What would make a browser leave the page: references, styles, and scripts."""
    found, page = [], Page(text)
    for tag, attrs in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "xlink:href", "poster"):
            if attrs.get(name) is not None and not attrs[name].startswith(("data:", "#")):
                found.append(f"{tag} {name}={attrs[name]}")
        found += [f"{tag} {name}" for name in attrs if name.startswith("on")]
    found += [inside for inside in re.findall(r"url\(([^)]*)\)", text) if not inside.startswith("#")]
    return found + ["@import"] * text.count("@import") + ["script"] * len(page.all("script"))
