"""The tests run without servers; those of the migrations need DATABASE_TESTS=1 and
the variables of a PostgreSQL that may be emptied, those of the worker BROKER_TESTS=1 and
those of a Redis."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

VALUES = {
    "POSTGRES_USER": "setu",
    "POSTGRES_PASSWORD": "p@ss/word",
    "POSTGRES_DB": "setu",
    "REDIS_PASSWORD": "r:ed@is",
    "JWT_SECRET_KEY": "a" * 32,
    "JWT_REFRESH_SECRET_KEY": "b" * 32,
    "VLLM_MODEL_NAME": "a-model",
    "VERSION": "v-test",
}
for name, value in VALUES.items():
    os.environ.setdefault(name, value)


@pytest.fixture
def client():
    from fastapi.testclient import TestClient

    from backend.main import app

    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def token():
    from backend import security

    return {"Authorization": "Bearer " + security.access_token(7)}
