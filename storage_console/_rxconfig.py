"""Reflex's configuration; the root `rxconfig.py` and the installed launcher both import it from here."""

import reflex as rx

from storage_console.build_plugin import ConsoleFrontendPlugin

config = rx.Config(
    app_name="storage_console",
    plugins=[
        rx.plugins.RadixThemesPlugin(
            theme=rx.theme(
                appearance="inherit", accent_color="iris", gray_color="slate", radius="medium", scaling="95%"
            )
        ),
        rx.plugins.TailwindV4Plugin(),
        ConsoleFrontendPlugin(),
    ],
    disable_plugins=[rx.plugins.SitemapPlugin],  # on unless named here
    telemetry_enabled=False,
    show_built_with_reflex=False,
    default_color_mode="system",
    state_manager_mode=rx.constants.StateManagerMode.MEMORY,
    cors_allowed_origins=[],
    redis_token_expiration=1800,  # seconds; also the lifetime of an idle tab's memory state
)
