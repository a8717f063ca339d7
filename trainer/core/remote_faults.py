"""What can go wrong with a remote file or store, whatever the protocol: one family of typed faults.

They are for the code that talks to servers. What reaches the user is a :class:`trainer.core.errors.TrainerError`, which
each room words for itself.
"""

from __future__ import annotations


class RemoteFault(Exception):
    """Base of all faults of a remote file or store."""


class TransientFault(RemoteFault):
    """Another try may succeed: no connection, a transfer that broke off, a busy server."""


class FileChanged(RemoteFault):
    """The remote file isn't the one any more of which a part is here."""


class RequestRefused(RemoteFault):
    """The server's answer is final: another try gets the same.

    Attributes:
        status: the HTTP status; 0 where no server was asked.
        code: S3's name of the error, such as ``NoSuchKey``; may be empty.
    """

    def __init__(self, text: str, status: int = 0, code: str = "") -> None:
        super().__init__(text)
        self.status, self.code = status, code


class ObjectMissing(RequestRefused):
    """There is no such object."""


class BucketMissing(ObjectMissing):
    """There is no such bucket."""


class InvalidBucketName(RequestRefused):
    """No bucket can have this name."""


class CredentialsMissing(RequestRefused):
    """The store wants credentials and none are set."""


class StoreMisconfigured(RequestRefused):
    """No client can be made: the endpoint is no URL, or the AWS profile doesn't exist."""
