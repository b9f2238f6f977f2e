"""The logins of the MLflow server of `manifests/`, and what each may do there.

    python -m slipway.components.platforms.tracking_users DATABASE ROLES
        before the server starts, which has the same database

admin       everything, with the password of the environment (MLFLOW_AUTH_ADMIN_PASSWORD)
steps       the registry, and experiments
trainers    experiments, where they log; nothing of the registry, so that no trainer makes itself the champion

ROLES is a folder with the mounted Secrets of the roles (`ROLES/trainers/MLFLOW_TRACKING_USERNAME` and `…_PASSWORD`). A
password that changed there is taken over when the server's pod starts again. Logins that people made stay as they are;
a login without rights of its own reads (`default_permission` in the server's configuration).
"""

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from slipway.components.errors import BadInput
from slipway.components.platforms.mounted_credentials import of_roles

NAME, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
ADMIN, ADMIN_PASSWORD = "admin", "MLFLOW_AUTH_ADMIN_PASSWORD"
GRANTS = {
    "steps": {"experiment": "MANAGE", "registered_model": "MANAGE"},  # who manages may take aliases and tags away
    "trainers": {
        "experiment": "EDIT",
        "registered_model": "DENY",
    },  # or one made a model before the steps do, as its own
}
"""By role, for all experiments and models, also those from before there were logins."""


class Login(NamedTuple):
    """A name and a password."""

    name: str
    password: str


def logins_in(folder: Path) -> dict[str, Login]:
    """The logins that mounted Secrets name, by role.

    Raises:
        BadInput: a role has none, or two have the same name.
    """
    found = {role: Login(*pair) for role, pair in of_roles(folder, GRANTS, (NAME, PASSWORD)).items()}
    names = [ADMIN, *(login.name for login in found.values())]
    if len(set(names)) < len(names):
        raise BadInput(
            f"{NAME} must differ between the roles {', '.join(GRANTS)}, and none be {ADMIN}: got {names[1:]}"
        )
    return found


def apply(database: str, logins: dict[str, Login], admin_password: str) -> None:
    """Make the logins what they are to be; the database is made when it is not there.

    Args:
        database: URI of the server's users, such as `sqlite:////data/users.db`.
        logins: by role.
        admin_password: of the administrator.

    Raises:
        MlflowException: a name or password is none that MLflow takes.
    """
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db(database)  # type: ignore[no-untyped-call]
    _set(store, Login(ADMIN, admin_password), administrator=True)
    for role, login in logins.items():
        _set(store, login, administrator=False)
        for kind, permission in GRANTS[role].items():
            store.grant_user_permission(login.name, kind, "*", permission)


def _set(store: Any, login: Login, administrator: bool) -> None:
    if store.has_user(login.name):
        store.update_user(login.name, login.password, administrator)
    else:
        store.create_user(login.name, login.password, administrator)


def main(database: str, folder: str) -> None:
    """Make the logins, or end with one line that says what is missing."""
    try:
        logins = logins_in(Path(folder))
    except BadInput as error:
        sys.exit(str(error))
    apply(database, logins, os.environ[ADMIN_PASSWORD])
    print("the logins of MLflow are", {role: login.name for role, login in logins.items()}, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
