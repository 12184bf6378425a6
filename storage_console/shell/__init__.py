"""The frame around every page: navigation, header, palette, theme."""
