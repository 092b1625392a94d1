"""The tables. What changes here needs a migration; a test compares the two."""

from sqlalchemy import Boolean, Column, DateTime, Integer, String, Text, UniqueConstraint, func
from sqlalchemy.orm import declarative_base

Base = declarative_base()


class User(Base):
    __tablename__ = "users"
    id = Column(Integer, primary_key=True)
    email = Column(String(254), nullable=False, unique=True)
    password = Column(String(200), nullable=False)
    created_at = Column(DateTime(timezone=True), nullable=False, server_default=func.now())


class Standard(Base):
    """One thing that a pupil of a grade is to learn."""

    __tablename__ = "standards"
    __table_args__ = (UniqueConstraint("code"),)
    id = Column(Integer, primary_key=True)
    code = Column(String(32), nullable=False)
    grade = Column(Integer, nullable=False, index=True)
    subject = Column(String(64), nullable=False)
    description = Column(Text, nullable=False)
    # The second migration added it. It may be empty, so that code that does not
    # know it still writes rows.
    language = Column(String(8), nullable=True, server_default="en")


class JobResult(Base):
    """What became of a job. Runs is 1 when it ran exactly once: no row is a lost
    job, a larger number one that was done again."""

    __tablename__ = "job_results"
    job_id = Column(String(64), primary_key=True)
    runs = Column(Integer, nullable=False, server_default="1")
    worker = Column(String(128), nullable=False)
    finished_at = Column(DateTime(timezone=True), nullable=False, server_default=func.now())


class SchemaStep(Base):
    """A migration that ran, in the order they did. Breaks says that code from before
    it cannot work with what it left."""

    __tablename__ = "schema_steps"
    number = Column(Integer, primary_key=True)
    revision = Column(String(32), nullable=False, unique=True)
    breaks = Column(Boolean, nullable=False)
