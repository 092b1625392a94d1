"""Passwords and tokens."""

import base64
import hashlib
import hmac
import os
from datetime import datetime, timedelta, timezone

import jwt

from backend.settings import settings

ALGORITHM = "HS256"
# scrypt's cost: about 50 ms and 16 MiB for each try.
COST = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}


class BadToken(Exception):
    """The token is not ours, not of this kind, or too old."""


def hash_password(password: str) -> str:
    salt = os.urandom(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, **COST)
    return "scrypt$" + base64.b64encode(salt).decode() + "$" + base64.b64encode(digest).decode()


def password_matches(password: str, stored: str) -> bool:
    try:
        scheme, salt, digest = stored.split("$")
        given = hashlib.scrypt(password.encode(), salt=base64.b64decode(salt), **COST)
        return scheme == "scrypt" and hmac.compare_digest(given, base64.b64decode(digest))
    except ValueError:
        return False


def _issue(subject: int, kind: str, secret: str, lifetime: timedelta) -> str:
    now = datetime.now(timezone.utc)
    return jwt.encode({"sub": str(subject), "kind": kind, "iat": now, "exp": now + lifetime}, secret, ALGORITHM)


def access_token(subject: int) -> str:
    return _issue(subject, "access", settings().jwt_secret, timedelta(minutes=settings().access_minutes))


def refresh_token(subject: int) -> str:
    return _issue(subject, "refresh", settings().jwt_refresh_secret, timedelta(days=settings().refresh_days))


def subject_of(token: str, kind: str) -> int:
    """Who a token is for. kind is access or refresh: one is never taken for the other."""
    secret = settings().jwt_secret if kind == "access" else settings().jwt_refresh_secret
    try:
        claims = jwt.decode(token, secret, algorithms=[ALGORITHM], options={"require": ["exp", "sub"]})
        if claims.get("kind") != kind:
            raise BadToken("this is no " + kind + " token")
        return int(claims["sub"])
    except (jwt.InvalidTokenError, ValueError) as error:
        raise BadToken(str(error)) from error
