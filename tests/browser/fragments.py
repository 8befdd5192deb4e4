"""A fragment of HTML on a page, and what a reader does with it."""

import re

import numpy as np
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By


class Part:
    """One fragment on a page, and what a reader does with it."""

    def __init__(self, browser, root):
        self.browser, self.root, self.shadow = browser, root, root.shadow_root

    def one(self, selector):
        return self.shadow.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.shadow.find_elements(By.CSS_SELECTOR, selector)

    def script(self, code, *arguments):
        return self.browser.execute_script(code, self.root, *arguments)

    def logits(self, pixels, use_batch):
        """What the page computes of uint8 `[n, 784]`."""
        code = """
            const images = Float64Array.from(arguments[1], (pixel) => pixel / 255);
            return [...arguments[0].bnTutorial.network.forward(images, arguments[2]).at(-1).fed];
        """
        return np.reshape(self.script(code, pixels.ravel().tolist(), use_batch), (-1, 10))

    def image(self):
        return np.array(self.script("return arguments[0].bnTutorial.image()"))

    def answers(self):
        """The classes in large figures: naive, fixed."""
        return [self.one(f".{way} .figure").text for way in ("naive", "fixed")]

    def percentages(self, way):
        """What the ten bars show."""
        styles = [fill.get_attribute("style") for fill in self.all(f".{way} .fill")]
        return [float(re.search(r"width: ([\d.]+)%", style)[1]) for style in styles]

    def companions(self):
        return self.script("return arguments[0].bnTutorial.companions()")

    def set_companions(self, count):
        code = """
            const slider = arguments[0].shadowRoot.querySelector(".count");
            slider.value = arguments[1];
            slider.dispatchEvent(new Event("input"));
        """
        self.script(code, count)

    def choose(self, selector, value):
        self.one(f'{selector} option[value="{value}"]').click()

    def draw(self, strokes):
        paper = self.one(".paper")
        width, height = paper.size["width"], paper.size["height"]
        for stroke in strokes:
            chain = ActionChains(self.browser, duration=0)
            for i, (x, y) in enumerate(stroke):
                chain.move_to_element_with_offset(
                    paper, round((x - 0.5) * width), round((y - 0.5) * height)
                )
                if i == 0:
                    chain.click_and_hold()
            chain.release().perform()
