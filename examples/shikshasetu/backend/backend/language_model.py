"""Asks the language model, by OpenAI's chat API as vLLM serves it."""

import httpx

from backend.settings import settings

PROMPTS = {
    "simplify": "Rewrite the text for a pupil of grade {grade}. Keep every fact. Answer with the text alone.",
    "translate": "Translate the text into {language}. Answer with the translation alone.",
    "validate": "Say yes if the text fits the curriculum of grade {grade} in {subject}, else no, then why in one sentence.",
}


class ModelUnavailable(Exception):
    """The model did not answer, or not in a way that can be used."""


async def ask(task: str, text: str, **values: object) -> str:
    body = {
        "model": settings().vllm_model,
        "temperature": 0,
        "messages": [
            {"role": "system", "content": PROMPTS[task].format(**values)},
            {"role": "user", "content": text},
        ],
    }
    try:
        timeout = httpx.Timeout(settings().ml_timeout, connect=3)
        async with httpx.AsyncClient(base_url=settings().vllm_url, timeout=timeout) as client:
            answer = await client.post("/v1/chat/completions", json=body)
            answer.raise_for_status()
            return answer.json()["choices"][0]["message"]["content"]
    except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelUnavailable(f"{type(error).__name__}: {error}") from error
