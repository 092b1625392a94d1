import logging

import httpx
import pytest
from backend import database, health, language_model, routes, security, settings
from backend.main import app
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout


def test_health_tells_the_truth_about_its_database(client, monkeypatch):
    monkeypatch.setattr(health, "broker_state", lambda: "disconnected")
    monkeypatch.setattr(database, "revision", lambda: "0002")
    well = client.get("/health")
    assert well.status_code == 200
    assert well.json() == {
        "status": "healthy", "database": "connected", "redis": "disconnected", "revision": "0002", "version": "v-test",
    }

    def broken():
        raise OSError("no route")

    monkeypatch.setattr(database, "revision", broken)
    ill = client.get("/health")
    assert ill.status_code == 503
    assert ill.json()["status"] == "unhealthy"
    assert ill.json()["database"] == "disconnected"


def test_each_answer_names_the_version(client):
    assert client.get("/version").json() == {"version": "v-test"}
    assert client.get("/no/such/page").headers["x-release"] == "v-test"


@pytest.mark.parametrize("path", ["auth/login", "auth/register", "content/simplify", "content/translate", "content/validate"])
def test_an_empty_body_is_refused_not_crashed(client, path):
    assert client.post("/api/v1/" + path, json={}).status_code in (401, 422)


@pytest.mark.parametrize("header", [{}, {"Authorization": "Basic eA=="}, {"Authorization": "Bearer nonsense"}])
def test_content_needs_a_login(client, header):
    answer = client.post("/api/v1/content/simplify", json={"text": "x", "grade": 6}, headers=header)
    assert answer.status_code == 401


def test_a_refresh_token_opens_nothing(client):
    header = {"Authorization": "Bearer " + security.refresh_token(7)}
    assert client.post("/api/v1/content/simplify", json={"text": "x", "grade": 6}, headers=header).status_code == 401
    assert client.post("/api/v1/auth/refresh", json={"token": security.access_token(7)}).status_code == 401
    assert client.post("/api/v1/auth/refresh", json={"token": security.refresh_token(7)}).status_code == 200


def test_passwords():
    stored = security.hash_password("correct horse")
    assert security.password_matches("correct horse", stored)
    assert not security.password_matches("correct horsf", stored)
    assert not security.password_matches("x", "not a hash")
    assert stored != security.hash_password("correct horse")


class FakeModel:
    """A language model that answers as it is told; it stands for the faults a real one has."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answer


def model(monkeypatch, answer):
    fake, real = FakeModel(answer), httpx.AsyncClient
    monkeypatch.setattr(
        language_model.httpx, "AsyncClient", lambda **kw: real(transport=httpx.MockTransport(fake), **kw)
    )
    return fake


def said(text):
    return httpx.Response(200, json={"choices": [{"message": {"content": text}}]})


def test_content_comes_from_the_model(client, token, monkeypatch):
    fake = model(monkeypatch, said("yes, it fits"))
    answer = client.post("/api/v1/content/validate", json={"text": "x", "grade": 6, "subject": "Science"}, headers=token)
    assert answer.json() == {"valid": True, "reason": "yes, it fits"}
    assert fake.asked[0].url.path == "/v1/chat/completions"
    assert b"grade 6 in Science" in fake.asked[0].content
    assert client.post("/api/v1/content/translate", json={"text": "x", "language": "Hindi"}, headers=token).status_code == 200


@pytest.mark.parametrize("answer", [httpx.Response(500), httpx.Response(200, json={}), httpx.Response(200, text="no json")])
def test_a_model_that_is_not_there_is_said_so(client, token, monkeypatch, answer):
    model(monkeypatch, answer)
    got = client.post("/api/v1/content/simplify", json={"text": "x", "grade": 6}, headers=token)
    assert got.status_code == 503
    assert got.headers["retry-after"] == "30"


def test_metrics_are_labelled_by_route_not_by_path(client):
    client.get("/wp-admin.php")
    client.get("/version")
    text = client.get("/metrics").text
    assert 'http_requests_total{method="GET",route="/version",status="200"}' in text
    assert "http_request_duration_seconds_bucket" in text
    assert 'shikshasetu_build_info{version="v-test"} 1.0' in text
    assert "wp-admin" not in text


def test_a_crash_is_counted_and_named(client, monkeypatch, token):
    def broken():
        raise RuntimeError("the database went away")

    monkeypatch.setattr(routes, "transaction", broken)
    answer = client.get("/api/v1/curriculum/standards")
    assert answer.status_code == 500
    assert 'route="/api/v1/curriculum/standards",status="500"' in client.get("/metrics").text


@pytest.fixture
def nobody(monkeypatch):
    """A database that is away: nobody listens at its port."""
    engine = create_engine("postgresql+psycopg2://setu:secret@127.0.0.1:1/setu", future=True)
    monkeypatch.setattr(database, "engine", lambda: engine)
    monkeypatch.setattr(health, "broker_state", lambda: "connected")


ACCOUNT = {"email": "a@b.test", "password": "a long password"}


@pytest.mark.parametrize(
    "method, path, body",
    [
        ("GET", "curriculum/standards", None),
        ("GET", "curriculum/standards/SCI-6-01", None),
        ("GET", "auth/me", None),
        ("GET", "jobs/one", None),
        ("POST", "auth/login", ACCOUNT),
        ("POST", "auth/register", ACCOUNT),
    ],
)
def test_a_database_that_is_away_is_said_so(client, token, nobody, caplog, method, path, body):
    with caplog.at_level(logging.WARNING, "backend.main"):
        got = client.request(method, "/api/v1/" + path, json=body, headers=token)
    assert got.status_code == 503
    assert got.headers["retry-after"] == "10"
    assert got.headers["x-release"] == "v-test", "it is an answer like the others"
    assert "try again" in got.json()["detail"]
    assert "Connection refused" in caplog.text and "\n" not in caplog.messages[0]
    assert "a@b.test" not in caplog.text and "secret" not in caplog.text


def test_what_needs_no_database_is_served_without_it(client, token, nobody, monkeypatch):
    model(monkeypatch, said("shorter"))
    assert client.get("/version").status_code == 200
    assert client.get("/metrics").status_code == 200
    simple = client.post("/api/v1/content/simplify", json={"text": "x", "grade": 6}, headers=token)
    assert simple.json() == {"text": "shorter"}
    ill = client.get("/health")
    assert ill.status_code == 503
    assert (ill.json()["database"], ill.json()["redis"]) == ("disconnected", "connected")


class FakeFault(Exception):
    """What the driver raises, with the server's code."""

    def __init__(self, pgcode):
        super().__init__(pgcode or "no answer")
        self.pgcode = pgcode


def fault(code):
    return OperationalError("SELECT 'private'", {}, FakeFault(code))


@pytest.mark.parametrize("code", ["57014", "40P01", "55P03", "53100"])
def test_a_statement_that_fails_is_no_database_that_is_away(client, monkeypatch, code):
    def broken():
        raise fault(code)

    monkeypatch.setattr(routes, "transaction", broken)
    assert client.get("/api/v1/curriculum/standards").status_code == 500
    assert not database.away(fault(code))


@pytest.mark.parametrize("error", [fault(None), fault("57P01"), fault("57P03"), fault("08006"), PoolTimeout("all 20 are taken")])
def test_a_database_that_hangs_up_is_away(client, monkeypatch, caplog, error):
    def broken():
        raise error

    monkeypatch.setattr(routes, "transaction", broken)
    assert client.get("/api/v1/curriculum/standards").status_code == 503
    assert "private" not in caplog.text


@pytest.mark.parametrize("value", ["", "short"])
def test_a_weak_secret_stops_the_program(monkeypatch, value):
    monkeypatch.setenv("JWT_SECRET_KEY", value)
    settings.settings.cache_clear()
    with pytest.raises(SystemExit, match="JWT_SECRET_KEY"):
        settings.settings()
    monkeypatch.undo()
    settings.settings.cache_clear()


def test_passwords_with_signs_survive_the_url(monkeypatch):
    for name in ("POSTGRES_HOST", "REDIS_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert settings.database_url() == "postgresql+psycopg2://setu:p%40ss%2Fword@postgres:5432/setu"
    assert settings.redis_url() == "redis://:r%3Aed%40is@redis:6379/0"
