"""The docs page: Swagger UI over `/openapi.json`, from files that are installed, so that it works offline."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from servers.runtime.errors import ERROR_DOMAIN

# The package is a carrier of files here: it is not imported, which would import FastAPI.
_ASSET_PACKAGE = "fastapi_offline"
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mlmesh API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<main id="viewer"></main>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#viewer",
  deepLinking: true,
  filter: true,
  docExpansion: "none",
  tryItOutEnabled: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""


def docs_routes(openapi_file: Path) -> list[Route]:
    """Returns the routes of the docs page.

    Args:
        openapi_file: OpenAPI document to serve.
    """
    folder = _asset_folder()

    async def page(request: Request) -> Response:
        del request
        return HTMLResponse(_PAGE)

    async def start(request: Request) -> Response:
        del request
        return Response(_START, media_type="text/javascript")

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _ASSETS or folder is None:
            return not_found("There is no such file.")
        return FileResponse(folder / name, media_type=_ASSETS[name], headers={"cache-control": "public, max-age=86400"})

    async def openapi(request: Request) -> Response:
        del request
        if not openapi_file.is_file():
            return not_found("The OpenAPI document is not part of this installation.")
        return FileResponse(openapi_file, media_type="application/json")

    return [
        Route("/docs", page, methods=["GET"]),
        Route("/docs/start.js", start, methods=["GET"]),
        Route("/docs/{name}", asset, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
    ]


def _asset_folder() -> Path | None:
    spec = find_spec(_ASSET_PACKAGE)
    folders = [Path(folder) / "static" for folder in (spec.submodule_search_locations or ())] if spec is not None else []
    return next((folder for folder in folders if folder.is_dir()), None)


def not_found(message: str) -> JSONResponse:
    """Returns a 404 in the shape of all errors."""
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "ROUTE_NOT_FOUND", "domain": ERROR_DOMAIN, "metadata": {}}
    return JSONResponse({"code": 5, "message": message, "details": [info]}, status_code=404)
