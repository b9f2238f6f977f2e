"""Settings of the step `register`."""

from components.settings import Settings, setting


class RegistrySettings(Settings):
    """Where bundles go and who signs them."""

    store: str = setting("", "where bundles are kept: a folder or `s3://bucket/prefix`; empty for Slipway's home")
    keys: str = setting(
        "~/.config/slipway/keys", "folder of the signing key pair, made at first use; keep it out of repositories"
    )
