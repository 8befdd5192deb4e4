"""What the browser has logged since it was asked last: errors in the console, and the network."""

from __future__ import annotations

import json

from selenium.webdriver import Chrome


def console_errors(browser: Chrome) -> list[str]:
    """The errors in the console."""
    log = browser.get_log("browser")
    return [entry["message"] for entry in log if entry["level"] == "SEVERE"]


def network(browser: Chrome) -> tuple[list[str], list[str]]:
    """The addresses asked for, and those that gave no answer."""
    asked, failed, address_of = [], [], {}
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        parameters = message.get("params", {})
        if message["method"] == "Network.requestWillBeSent":
            address_of[parameters["requestId"]] = parameters["request"]["url"]
            asked.append(parameters["request"]["url"])
        elif message["method"] == "Network.webSocketCreated":
            asked.append(parameters["url"])
        elif message["method"] == "Network.responseReceived":
            if parameters["response"]["status"] >= 400:
                failed.append(parameters["response"]["url"])
        elif message["method"] == "Network.loadingFailed" and not parameters.get("canceled"):
            failed.append(address_of.get(parameters["requestId"], "unknown address"))
    return asked, failed
