"""The site's charts: Vega-Lite, made and checked by Altair, drawn in the reader's browser or into SVG and PDF."""
