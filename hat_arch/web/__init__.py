"""Pages for a browser: `upscale_page` makes pictures larger, `board_page` shows trainings."""
