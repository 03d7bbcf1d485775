"""Where the package index that pip is set to keeps a file: a mirror, a company's index, or pip's own default."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from html import unescape
from urllib.parse import urldefrag, urljoin

SCHEME = "pip:"  # pip:PROJECT/FILE
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"  # PEP 691, else PEP 503
HREF = re.compile(r'href="([^"]+)"')


def locate(url: str, timeout_s: float) -> str:
    """The address of a file: `pip:PROJECT/FILE` is looked up in the index, any other URL is returned as it is.

    Raises:
      OSError: there is no index to ask, it does not answer, or it does not have the file.
    """
    if not url.startswith(SCHEME):
        return url
    project, _, file = url.removeprefix(SCHEME).partition("/")
    page = f"{index_url().rstrip('/')}/{project}/"
    request = urllib.request.Request(page, headers={"Accept": ACCEPT})
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        kind, text = answer.headers.get("Content-Type", ""), answer.read().decode("utf-8")
    try:
        links = [row["url"] for row in json.loads(text)["files"]] if "json" in kind else HREF.findall(text)
    except (ValueError, LookupError, TypeError) as error:
        raise OSError(f"{page} is no page of a package index") from error
    for link in links:
        address = urldefrag(urljoin(page, unescape(link))).url
        if address.rsplit("/", 1)[-1] == file:
            return address
    raise FileNotFoundError(f"the package index does not list {file} at {page}")


def index_url() -> str:
    """The index that pip is set to, by `PIP_INDEX_URL` or its configuration, else pip's default.

    Raises:
      OSError: there is no pip to ask.
    """
    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    process = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    if process.returncode == 0 and process.stdout.strip():
        return process.stdout.strip()
    try:
        from pip._internal.models.index import PyPI  # the only place that says it
    except ImportError as error:
        raise FileNotFoundError("there is no pip to ask for the package index; set PIP_INDEX_URL") from error
    return PyPI.simple_url
