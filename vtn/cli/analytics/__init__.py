"""Analytics on files or on what homes reported, and what `serve` made of them.

new_forecast     dr-vtn forecast             a forecast made now
kept_forecasts   dr-vtn forecasts ..         forecasts that were kept, the model that serves, the watch over it
propose          dr-vtn forecasts propose    what an event would bring, for a forecast
kept_proposals   dr-vtn proposals ..         events that `serve` proposed, and what was decided
backtest, cluster                            the commands of these names
"""
