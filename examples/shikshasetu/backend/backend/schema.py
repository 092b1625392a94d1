"""Whether this code can work with the schema that is there: `python -m backend.schema`
ends with 0 when it can, else with 1 and the reason. A release that is gone back to
meets the schema of a later one."""

import sys
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text

from backend import database

CONFIG = Path(__file__).parent.parent / "alembic.ini"


def look() -> tuple[bool, str]:
    """Whether it can, and what was found."""
    known = ScriptDirectory.from_config(Config(str(CONFIG))).get_current_head()
    at = database.revision()
    if at == known:
        return True, f"the schema is at {at}, which is what this code knows"
    with database.engine().connect() as connection:
        steps = connection.execute(text("SELECT revision, breaks FROM schema_steps ORDER BY number")).all()
    revisions = [revision for revision, _ in steps]
    if known not in revisions:
        return False, f"the schema is at {at}, this code needs {known}"
    breaking = [revision for revision, breaks in steps[revisions.index(known) + 1 :] if breaks]
    if breaking:
        return False, f"the schema is at {at}, and code of {known} cannot work since {breaking[0]}"
    return True, f"the schema is at {at}; what came after {known} only added"


if __name__ == "__main__":
    can, found = look()
    print(found)
    sys.exit(0 if can else 1)
