"""The small ASGI app behind Envoy: the docs page, the OpenAPI document, and forms for the token endpoint."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.edge.docs import docs_routes, not_found
from gateway.edge.tokens import TokenExchange, token_route

_SECURITY_HEADERS = {
    # Nothing from elsewhere: the page works offline, and a script that got into the OpenAPI document could load and send nothing.
    # Swagger UI sets styles on its elements and carries its icons as data URLs.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}


def edge_app(openapi_file: Path, exchange: TokenExchange) -> Starlette:
    """Returns the edge app.

    Args:
        openapi_file: OpenAPI document to serve.
        exchange: Asks the users server for a token.
    """
    return Starlette(
        routes=[
            Route("/", _to_docs, methods=["GET"]),
            *docs_routes(openapi_file),
            token_route(exchange),
        ],
        middleware=[Middleware(_SecurityHeaders)],
        exception_handlers={404: _not_found, 405: _not_found},
    )


async def _to_docs(request: Request) -> Response:
    del request
    return RedirectResponse("/docs", status_code=307)


async def _not_found(request: Request, error: Exception) -> Response:
    del request, error
    return not_found("There is no such path, or it does not take this HTTP method. GET /openapi.json lists them all.")


class _SecurityHeaders:
    """Adds the security headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    *((name.encode(), value.encode()) for name, value in _SECURITY_HEADERS.items()),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)
