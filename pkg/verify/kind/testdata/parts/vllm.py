"""A stand-in for vLLM: it answers the paths that checks ask, and computes nothing.
It proves nothing about a model or a GPU."""
import http.server
import json
import os


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {"/health": {}, "/v1/models": {"data": [{"id": "stand-in"}]}}.get(self.path)
        self.answer(404 if body is None else 200, body)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = asked.get("model") == "stand-in"
        self.answer(200 if known else 404, {"choices": [{"text": "."}]} if known else {"error": "no such model"})

    def answer(self, status, body):
        if os.path.exists("/tmp/broken"):
            status, body = 503, {"error": "the engine is dead"}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


http.server.ThreadingHTTPServer(("", 8000), Answers).serve_forever()
