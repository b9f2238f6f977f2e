"""Settings of the step `register`."""

from slipway.components.settings import Settings, setting


class RegistrySettings(Settings):
    """Where bundles go, who signs them and who may read them."""

    store: str = setting("", "where bundles are kept: a folder or `s3://bucket/prefix`; empty for Slipway's home")
    keys: str = setting(
        "~/.config/slipway/keys",
        "folder of the signing key pair, made at first use; keep it out of repositories. Runs whose steps are pods "
        "have `job:NAMESPACE`: a Job of the CronJob slipway-signer signs there, and no step has the key",
    )
    signing_key: str = setting(
        "",
        "key in AWS KMS that signs in place of a private key in the folder: `awskms:///` and the id, ARN or alias "
        "of an ECC_NIST_P256 key",
        pattern="^(awskms:///.+)?$",
    )
    encryption_key: str = setting(
        "",
        "key that encrypts bundles before they are signed: a file with 32 random bytes in base64, or `kms:KEY-ID`; "
        "empty leaves them readable",
    )
