"""The senders of `check.py`, a file for each way of signing."""

from .base import Request
from .body import AdyenPlatform, EasyPost, GitHub, GoCardless, Line, Linear, Notion, Shopify
from .fields import AdyenItems, Braintree
from .keys import AmazonSns1, AmazonSns2, Discord, SendGrid
from .standard import Asymmetric, OpenAi, Replicate, Resend, StandardWebhooks, Svix
from .timed import Cloudinary, Paddle, Sanity, Slack, Stripe
from .tokens import Jira, Netlify, Plaid, Vonage
from .urls import Contentful, HubSpot, MercadoPago, Square, TwilioForm, TwilioJson

__all__ = ["Request", "all_signers"]

OWN = [
    AdyenItems, AdyenPlatform, Braintree, Cloudinary, EasyPost, GoCardless, HubSpot, MercadoPago, Netlify, Paddle, Plaid,
    Resend, SendGrid, Slack, Square, StandardWebhooks, Stripe, Svix, TwilioForm, TwilioJson, Vonage,
]
OF_NODE = [
    AmazonSns1, AmazonSns2, Asymmetric, Contentful, Discord, GitHub, Jira, Line, Linear, Notion, OpenAi, Replicate,
    Sanity, Shopify,
]


def all_signers(node):
    """One of each, by name."""
    signers = [each() for each in OWN] + [each(node) for each in OF_NODE]
    return {each.name: each for each in sorted(signers, key=lambda each: each.name)}
