"""A partner's listing: the documented endpoint that gives its records page by page, as a declaration.

Belongs here: the shape of that declaration. Does not belong here: any partner's (`partners`), asking for pages
(`exports.pull`), a source's own address and secrets (`configuration.pull_settings`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Credential:
    """A secret that every request carries.

    Attributes:
        setting: what it is called in `sources.yaml`.
        header: the header it is sent in.
        takes_scheme: a configured scheme, such as `Bearer`, stands before it; without one it is sent raw.
    """

    setting: str
    header: str
    takes_scheme: bool = False


@dataclass(frozen=True)
class Listing:
    """One `GET` endpoint that lists records (N11).

    Attributes:
        path: appended to the source's URL.
        records: the body's field that holds the page's records; a body that is a list will do too.
        key: the record's field by which a record is told from others.
        size: the query parameter for the records of a page, also the name of its setting.
        size_limit: the most the partner gives; larger settings are clamped to it.
        page: the query parameter for the number of the page.
        first_page: the number of the first one.
        credentials: what a source must be given.
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
