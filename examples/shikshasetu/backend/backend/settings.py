"""What the environment says. A value that is missing or weak stops the program
with its name, before anything is served."""

import os
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

# HS256 signs with 256 bits; a shorter secret is guessed before it is broken.
SECRET_LENGTH = 32


class BadSetting(SystemExit):
    """Ends the program: the message says which variable and what it has to be."""

    def __init__(self, name: str, wanted: str):
        super().__init__(f"{name} {wanted}")


@dataclass(frozen=True)
class Settings:
    version: str
    database_url: str
    redis_url: str
    jwt_secret: str
    jwt_refresh_secret: str
    vllm_url: str
    vllm_model: str
    # Seconds. nginx gives an ML request 600; the API gives up before it does.
    ml_timeout: float
    access_minutes: int
    refresh_days: int


def _need(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise BadSetting(name, "has to be set")
    return value


def _secret(name: str) -> str:
    value = _need(name)
    if len(value) < SECRET_LENGTH:
        raise BadSetting(name, f"has to have at least {SECRET_LENGTH} characters, it has {len(value)}")
    return value


def database_url() -> str:
    user, password = quote(_need("POSTGRES_USER"), safe=""), quote(_need("POSTGRES_PASSWORD"), safe="")
    host = os.environ.get("POSTGRES_HOST", "postgres")
    return f"postgresql+psycopg2://{user}:{password}@{host}:5432/{_need('POSTGRES_DB')}"


def redis_url() -> str:
    password = quote(_need("REDIS_PASSWORD"), safe="")
    return f"redis://:{password}@{os.environ.get('REDIS_HOST', 'redis')}:6379/0"


def version() -> str:
    return os.environ.get("VERSION", "dev")


@lru_cache
def settings() -> Settings:
    return Settings(
        version=version(),
        database_url=database_url(),
        redis_url=redis_url(),
        jwt_secret=_secret("JWT_SECRET_KEY"),
        jwt_refresh_secret=_secret("JWT_REFRESH_SECRET_KEY"),
        vllm_url=os.environ.get("VLLM_URL", "http://vllm:8000"),
        vllm_model=_need("VLLM_MODEL_NAME"),
        ml_timeout=float(os.environ.get("ML_TIMEOUT", "570")),
        access_minutes=int(os.environ.get("JWT_ACCESS_MINUTES", "30")),
        refresh_days=int(os.environ.get("JWT_REFRESH_DAYS", "7")),
    )
