"""Help pages for every language: browsers ask for ``docs/NODE/LANGUAGE.md``, and we have some languages only."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web
from server import PromptServer

DOCS = Path(__file__).parents[1] / "web" / "docs"
ENGLISH = "en"


def serve_help(pack: str) -> None:
    """Has ComfyUI answer in English where a language has no page; by itself, it logs an error and shows a bare table.

    Args:
        pack: the folder that ComfyUI serves our files under.
    """
    server = getattr(PromptServer, "instance", None)
    if server is not None:  # there is none where nodes are loaded without it
        server.routes.get(f"/extensions/{pack}/docs/{{node}}/{{language}}.md")(_page)


async def _page(request: web.Request) -> web.StreamResponse:
    node, language = request.match_info["node"], request.match_info["language"]
    pages = {page.stem: page for page in DOCS.glob("*/*.md") if page.parent.name == node}
    page = pages.get(language) or pages.get(ENGLISH)
    return web.FileResponse(page) if page else web.Response(status=404)
