"""What can be wrong with an OpenADR object or message.

OpenAdrError                 every error of this package; carries the OpenADR response code to answer with
├── InvalidDuration          text that is no fixed, non-negative ISO 8601 duration
├── InvalidEvent             a dr_event that breaks the model
├── InvalidReport            a report or reading that breaks the model
├── RenderError              a message that cannot be written as valid XML (a fault of ours, not of the peer)
└── MessageError             a body that cannot be read; keeps what the error answer needs
    ├── UnsafeDocument       not a document we parse: DOCTYPE, other encoding, too large, not well-formed
    ├── SchemaViolation      the XSD refuses it
    └── SignatureRefused     the XML signature is missing, wrong, or covers something else
"""

from enum import IntEnum


class ResponseCode(IntEnum):
    """Response codes of OpenADR 2.0b. 2xx is success; the names are those of the profile specification."""

    OK = 200
    OUT_OF_SEQUENCE = 450
    NOT_ALLOWED = 451
    INVALID_ID = 452
    NOT_RECOGNIZED = 453
    INVALID_DATA = 454
    COMPLIANCE_ERROR = 459
    SIGNAL_NOT_SUPPORTED = 460
    REPORT_NOT_SUPPORTED = 461
    TARGET_MISMATCH = 462
    NOT_REGISTERED_OR_AUTHORIZED = 463
    DEPLOYMENT_ERROR_OR_OTHER_ERROR = 469


class OpenAdrError(Exception):
    """Base of every error of this package. `code` is the OpenADR response code that describes it to a peer."""

    code: ResponseCode = ResponseCode.INVALID_DATA

    def __init__(self, detail: str, code: ResponseCode | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code


class InvalidDuration(OpenAdrError, ValueError):
    """Not a duration of fixed, non-negative length."""


class InvalidEvent(OpenAdrError, ValueError):
    """The event breaks the neutral model."""


class InvalidReport(OpenAdrError, ValueError):
    """The report or reading breaks the neutral model, or is of a kind that is not understood."""


class RenderError(OpenAdrError, ValueError):
    """The message cannot be written as valid XML."""

    code = ResponseCode.DEPLOYMENT_ERROR_OR_OTHER_ERROR


class MessageError(OpenAdrError):
    """A body that cannot be read as a message.

    `request_id`, `ven_id` and `message_name` are what could be salvaged from it ("" where nothing was there), so that
    the answer can carry the requestID of the question.
    """

    def __init__(
        self,
        detail: str,
        code: ResponseCode | None = None,
        *,
        request_id: str = "",
        ven_id: str = "",
        message_name: str = "",
    ) -> None:
        super().__init__(detail, code)
        self.request_id = request_id
        self.ven_id = ven_id
        self.message_name = message_name


class UnsafeDocument(MessageError):
    """Not a document that is parsed at all."""


class SchemaViolation(MessageError):
    """The OpenADR 2.0b schema refuses the document."""


class SignatureRefused(MessageError):
    """The XML signature does not prove what it should."""

    code = ResponseCode.NOT_REGISTERED_OR_AUTHORIZED
