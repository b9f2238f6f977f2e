"""Creates the logins of the MLflow server of `manifests/`, and sets what each may do.

    python -m slipway.components.platforms.tracking_users DATABASE ROLES
        runs before the server, which uses the same database

admin       everything, with the password in the environment (MLFLOW_AUTH_ADMIN_PASSWORD)
steps       the registry, and experiments
trainers    experiments, to which they log; not the registry, so that no trainer can make its model the champion

ROLES is a folder with the mounted Secrets of the roles (`ROLES/trainers/MLFLOW_TRACKING_USERNAME` and `…_PASSWORD`). If
a password changes there, the server gets it at the next start of its pod. Logins that people made are not changed. A
login without rights of its own can read (`default_permission` in the server's configuration).
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
    # MANAGE is needed to remove aliases and tags.
    "steps": {"experiment": "MANAGE", "registered_model": "MANAGE"},
    # DENY keeps a trainer from creating a model before the steps do. It would then own that model.
    "trainers": {"experiment": "EDIT", "registered_model": "DENY"},
}
"""Permissions by role. They apply to all experiments and models, even those older than the logins."""


class Login(NamedTuple):
    """A name and a password."""

    name: str
    password: str


def logins_in(folder: Path) -> dict[str, Login]:
    """The logins in the mounted Secrets, by role.

    Raises:
        BadInput: a role has none, or two have the same name.
    """
    logins = {role: Login(*pair) for role, pair in of_roles(folder, GRANTS, (NAME, PASSWORD)).items()}
    names = [ADMIN, *(login.name for login in logins.values())]
    if len(set(names)) < len(names):
        raise BadInput(
            f"{NAME} must differ between the roles {', '.join(GRANTS)}, and none be {ADMIN}: got {names[1:]}"
        )
    return logins


def apply(database: str, logins: dict[str, Login], admin_password: str) -> None:
    """Create or update the logins in the database, which is made if it does not exist.

    Args:
        database: URI of the database with the server's users, for example `sqlite:////data/users.db`.
        logins: the logins by role.
        admin_password: password of the administrator.

    Raises:
        MlflowException: MLflow does not accept a name or a password.
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
    """Create or update the logins; exits with one line that names what is missing."""
    try:
        logins = logins_in(Path(folder))
    except BadInput as error:
        sys.exit(str(error))
    apply(database, logins, os.environ[ADMIN_PASSWORD])
    print("the logins of MLflow are", {role: login.name for role, login in logins.items()}, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
