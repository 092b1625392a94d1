"""The routes below /api/v1."""

import uuid

from fastapi import APIRouter, Depends, Header, HTTPException, Query
from kombu.exceptions import OperationalError
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from backend import language_model, security
from backend.database import transaction
from backend.models import JobResult, Standard, User
from backend.tasks import pipeline

router = APIRouter(prefix="/api/v1")

EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
LONGEST_TEXT = 20_000


class Credentials(BaseModel):
    email: str = Field(max_length=254, regex=EMAIL)
    password: str = Field(min_length=10, max_length=200)


class Refresh(BaseModel):
    token: str


class Simplify(BaseModel):
    text: str = Field(min_length=1, max_length=LONGEST_TEXT)
    grade: int = Field(ge=1, le=12)


class Translate(BaseModel):
    text: str = Field(min_length=1, max_length=LONGEST_TEXT)
    language: str = Field(min_length=2, max_length=40)


class Validate(BaseModel):
    text: str = Field(min_length=1, max_length=LONGEST_TEXT)
    grade: int = Field(ge=1, le=12)
    subject: str = Field(min_length=1, max_length=64)


class Job(BaseModel):
    seconds: float = Field(default=1, ge=0, le=300)


def user_id(authorization: str = Header(default="")) -> int:
    """Who asks; 401 when they do not say."""
    kind, _, token = authorization.partition(" ")
    try:
        if kind.lower() != "bearer":
            raise security.BadToken("no bearer token")
        return security.subject_of(token, "access")
    except security.BadToken as error:
        raise HTTPException(401, "log in first", {"WWW-Authenticate": "Bearer"}) from error


def _tokens(user: int) -> dict:
    return {"access_token": security.access_token(user), "refresh_token": security.refresh_token(user), "token_type": "bearer"}


@router.post("/auth/register", status_code=201)
def register(body: Credentials) -> dict:
    user = User(email=body.email.lower(), password=security.hash_password(body.password))
    try:
        with transaction() as db:
            db.add(user)
            db.flush()
            return _tokens(user.id)
    except IntegrityError as error:
        raise HTTPException(409, "this address has an account") from error


@router.post("/auth/login")
def login(body: Credentials) -> dict:
    with transaction() as db:
        found = db.execute(select(User.id, User.password).where(User.email == body.email.lower())).one_or_none()
    if found is None or not security.password_matches(body.password, found.password):
        raise HTTPException(401, "wrong address or password")
    return _tokens(found.id)


@router.post("/auth/refresh")
def refresh(body: Refresh) -> dict:
    try:
        return _tokens(security.subject_of(body.token, "refresh"))
    except security.BadToken as error:
        raise HTTPException(401, "log in again") from error


@router.get("/auth/me")
def me(user: int = Depends(user_id)) -> dict:
    with transaction() as db:
        found = db.get(User, user)
        if found is None:
            raise HTTPException(401, "log in again")
        return {"id": found.id, "email": found.email}


def _standard(found: Standard) -> dict:
    return {name: getattr(found, name) for name in ("code", "grade", "subject", "description", "language")}


@router.get("/curriculum/standards")
def standards(grade: int | None = Query(default=None, ge=1, le=12), subject: str | None = None) -> list:
    wanted = select(Standard).order_by(Standard.code).limit(500)
    if grade is not None:
        wanted = wanted.where(Standard.grade == grade)
    if subject is not None:
        wanted = wanted.where(Standard.subject == subject)
    with transaction() as db:
        return [_standard(found) for found in db.execute(wanted).scalars()]


@router.get("/curriculum/standards/{code}")
def standard(code: str) -> dict:
    with transaction() as db:
        found = db.execute(select(Standard).where(Standard.code == code)).scalar_one_or_none()
        if found is None:
            raise HTTPException(404, "no such standard")
        return _standard(found)


async def _ask(task: str, text: str, **values: object) -> str:
    try:
        return await language_model.ask(task, text, **values)
    except language_model.ModelUnavailable as error:
        # The model takes minutes to start after it was replaced.
        raise HTTPException(503, "the language model is not there, try again", {"Retry-After": "30"}) from error


@router.post("/content/simplify")
async def simplify(body: Simplify, _: int = Depends(user_id)) -> dict:
    return {"text": await _ask("simplify", body.text, grade=body.grade)}


@router.post("/content/translate")
async def translate(body: Translate, _: int = Depends(user_id)) -> dict:
    return {"text": await _ask("translate", body.text, language=body.language)}


@router.post("/content/validate")
async def validate(body: Validate, _: int = Depends(user_id)) -> dict:
    answer = await _ask("validate", body.text, grade=body.grade, subject=body.subject)
    return {"valid": answer.strip().lower().startswith("yes"), "reason": answer}


@router.post("/jobs", status_code=202)
def start_job(body: Job, _: int = Depends(user_id)) -> dict:
    job = uuid.uuid4().hex
    try:
        pipeline.process.apply_async((job, body.seconds), retry=False)
    except OperationalError as error:
        raise HTTPException(503, "the queue is not there, try again", {"Retry-After": "10"}) from error
    return {"id": job}


@router.get("/jobs/{job}")
def job_state(job: str, _: int = Depends(user_id)) -> dict:
    with transaction() as db:
        found = db.get(JobResult, job)
        return {"id": job, "done": found is not None, "runs": found.runs if found else 0}
