"""What Locust's page may do here: show. Its buttons would change the load while it is measured."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, jsonify, request

FROZEN = ("/swarm", "/stats/reset")


def guard(on_stop: Callable[[], None]) -> Callable[[], Response | None]:
    """Returns what to ask before each request of the page's web server.

    The stop button calls ``on_stop`` and no more; other buttons are refused; pages of other sites get nothing at all (Locust answers
    any origin, and a name that points to 127.0.0.1 reaches it too).
    """

    def answer() -> Response | None:
        own = f"http://{request.host}"
        if not request.host.startswith("127.0.0.1:") or request.headers.get("Origin", own) != own:
            return Response("this page belongs to a brokerbench run on this machine", status=403)
        if request.path == "/stop":
            on_stop()
            return jsonify({"success": True, "message": "The run is asked to stop."})
        if request.path in FROZEN:
            return jsonify({"success": False, "message": "The load is frozen while it is measured."})
        return None

    return answer
