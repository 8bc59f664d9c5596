"""Tokens: made anew before they expire, and once more when the service refuses one."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy, BearerTokenCredentialPolicy

from airflow_azureml.errors import ConfigError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.credentials_async import AsyncTokenCredential

UNAUTHORIZED = 401
_UNREADABLE = (FileNotFoundError, PermissionError)


class Tokens:
    """A credential that can be told to forget what it has remembered.

    azure-identity's credentials remember a token until shortly before its expiry, and none of them can be told that the
    service refused it: so the credential itself is made anew. One that the caller brought is asked again.

    Args:
        make: Makes the credential.
        own: Whether it is ours, to make anew and to close.
    """

    def __init__(self, make: "Callable[[], TokenCredential]", *, own: bool = True) -> None:
        self._make = make
        self._own = own
        self._credential: Any = make()
        self._lock = threading.Lock()

    def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        """Give the remembered token, or a new one where it is due."""
        with self._lock, _naming_the_file():
            if hasattr(self._credential, "get_token_info"):
                return self._credential.get_token_info(*scopes, options=options)  # type: ignore[no-any-return]
            token = self._credential.get_token(*scopes, **(options or {}))
            return AccessTokenInfo(token.token, token.expires_on)

    def forget(self) -> None:
        """Forget every token."""
        if self._own:
            with self._lock:
                fresh, stale = self._make(), self._credential
                self._credential = fresh
                stale.close()

    def close(self) -> None:
        """Close the credential."""
        if self._own:
            self._credential.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class StorageTokens(Tokens):
    """`Tokens` for a client of azure-storage, which asks once more when storage has refused its token (401).

    That client names the account's tenant then, and only then; without this it would be given the refused token again.
    Source: azure-storage-blob 12.26, ``StorageBearerTokenCredentialPolicy.on_challenge``.

    Args:
        make: Makes the credential.
        roams: Whether the credential is of no tenant of its own, and takes the account's.
    """

    def __init__(self, make: "Callable[[], TokenCredential]", *, roams: bool = False) -> None:
        super().__init__(make)
        self._roams = roams

    def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        """Give the remembered token, or a new one where it is due or was refused."""
        if _was_refused(options):
            self.forget()
        return super().get_token_info(*scopes, options=options if self._roams else _at_home(options))

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Give what `get_token_info` gives, as older clients ask for it."""
        given = self.get_token_info(*scopes, options=options)
        return AccessToken(given.token, given.expires_on)


class AsyncTokens:
    """`Tokens` for an event loop."""

    def __init__(self, make: "Callable[[], AsyncTokenCredential]", *, own: bool = True) -> None:
        self._make = make
        self._own = own
        self._credential: Any = make()
        self._lock = asyncio.Lock()

    async def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        """Give the remembered token, or a new one where it is due."""
        async with self._lock:
            with _naming_the_file():
                if hasattr(self._credential, "get_token_info"):
                    return await self._credential.get_token_info(*scopes, options=options)  # type: ignore[no-any-return]
                token = await self._credential.get_token(*scopes, **(options or {}))
                return AccessTokenInfo(token.token, token.expires_on)

    async def forget(self) -> None:
        """Forget every token."""
        if self._own:
            async with self._lock:
                fresh, stale = self._make(), self._credential
                self._credential = fresh
                await stale.close()

    async def close(self) -> None:
        """Close the credential."""
        if self._own:
            await self._credential.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()


class AsyncStorageTokens(AsyncTokens):
    """`StorageTokens` for an event loop."""

    def __init__(self, make: "Callable[[], AsyncTokenCredential]", *, roams: bool = False) -> None:
        super().__init__(make)
        self._roams = roams

    async def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        """Give the remembered token, or a new one where it is due or was refused."""
        if _was_refused(options):
            await self.forget()
        return await super().get_token_info(*scopes, options=options if self._roams else _at_home(options))

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Give what `get_token_info` gives, as older clients ask for it."""
        given = await self.get_token_info(*scopes, options=options)
        return AccessToken(given.token, given.expires_on)


def _was_refused(options: Any) -> bool:
    return bool((options or {}).get("tenant_id"))


def _at_home(options: Any) -> dict[str, Any]:
    """Leave out the tenant: a credential that has one of its own refuses to make tokens for another."""
    return {name: value for name, value in (options or {}).items() if name != "tenant_id"}


@contextlib.contextmanager
def _naming_the_file() -> Iterator[None]:
    """Name a file that cannot be read: one half of azure-identity raises its error as it is, the other wraps it.

    Raises:
        ConfigError: A certificate or token file is not there any more, or not for us to read.
    """
    try:
        yield
    except (*_UNREADABLE, ClientAuthenticationError) as error:
        cause = error.__cause__ if isinstance(error, ClientAuthenticationError) else error
        if isinstance(cause, _UNREADABLE):
            raise ConfigError(f"No token could be made, for a file on this machine cannot be read: {cause}") from error
        raise


class TokenPolicy(BearerTokenCredentialPolicy[Any, Any]):
    """Puts a token on each request; a request that is refused with 401 is sent once more, with a new token.

    A request that was refused so was not carried out, so that this holds for a POST too. Requests that were refused
    together share one new token.
    """

    def __init__(self, tokens: Tokens, scope: str) -> None:
        super().__init__(tokens, scope)
        self._tokens = tokens
        self._renewals = 0
        self._renewing = threading.Lock()

    def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        """Send it, and once more when its token was refused."""
        self.on_request(request)
        seen = self._renewals
        response: PipelineResponse[Any, Any] = self.next.send(request)
        if response.http_response.status_code != UNAUTHORIZED:
            return response
        with self._renewing:
            if self._renewals == seen:
                self._tokens.forget()
                self.authorize_request(request, *self._scopes)
                self._renewals += 1
            else:
                _put(request, self._token)
        return self.next.send(request)


class AsyncTokenPolicy(AsyncBearerTokenCredentialPolicy[Any, Any]):
    """`TokenPolicy` for an event loop."""

    def __init__(self, tokens: AsyncTokens, scope: str) -> None:
        super().__init__(tokens, scope)
        self._tokens = tokens
        self._renewals = 0
        self._renewing = asyncio.Lock()

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        """Send it, and once more when its token was refused."""
        await self.on_request(request)
        seen = self._renewals
        response: PipelineResponse[Any, Any] = await self.next.send(request)
        if response.http_response.status_code != UNAUTHORIZED:
            return response
        async with self._renewing:
            if self._renewals == seen:
                await self._tokens.forget()
                await self.authorize_request(request, *self._scopes)
                self._renewals += 1
            else:
                _put(request, self._token)
        return await self.next.send(request)


def _put(request: PipelineRequest[Any], token: Any) -> None:
    request.http_request.headers["Authorization"] = f"Bearer {token.token}"
