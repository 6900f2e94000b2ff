"""The declaration of a partner's listing: the documented endpoint that returns its records page by page.

Belongs here: the form of that declaration. Does not belong here: any partner's (`partners`), requesting pages
(`exports.pull`), a source's own address and secrets (`configuration.pull_settings`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Credential:
    """A secret that every request carries.

    Attributes:
        setting: its name in `sources.yaml`.
        header: the header it is sent in.
        takes_scheme: whether a configured scheme, such as `Bearer`, precedes it; without one it is sent unchanged.
    """

    setting: str
    header: str
    takes_scheme: bool = False


@dataclass(frozen=True)
class Listing:
    """One `GET` endpoint that lists records (N11).

    Attributes:
        path: appended to the source's URL.
        records: the body's field with the page's records; a body that is a list works too.
        key: the record's field that identifies it.
        size: the query parameter for the number of records per page, also the name of its setting.
        size_limit: the partner's maximum; larger settings are reduced to it.
        page: the query parameter for the page number.
        first_page: the number of the first page.
        credentials: what a source must configure.
        filters: boolean query parameters that a source may set.
    """

    path: str
    records: str
    key: str
    size: str
    size_limit: int
    page: str
    first_page: int = 1
    credentials: tuple[Credential, ...] = ()
    filters: tuple[str, ...] = ()
