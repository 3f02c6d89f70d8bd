"""A Space as people write them for ZeroGPU. Nothing in it knows of gpupool."""

import os
import time

import spaces
import gradio as gr


def where():
    return str(os.getpid())


@spaces.GPU(duration=20)
def who(text):
    return where()


@spaces.GPU(duration=20)
def wait(seconds):
    time.sleep(float(seconds))
    return where()


@spaces.GPU(duration=2)
def overrun(text):
    time.sleep(60)


@spaces.GPU(duration=20)
def fail(text):
    raise ValueError("the function's own fault")


@spaces.GPU(duration=4000)
def endless(text):
    return where()


@spaces.GPU(duration=15, size="xlarge")
def double(text):
    return where()


@spaces.GPU(duration=20)
def count(text):
    for number in range(3):
        yield f"{number} {where()}"


def relay(text, request: gr.Request):
    """Asks another Space on the visitor's behalf, as the documentation of ZeroGPU says."""
    from gradio_client import Client
    headers = {"x-ip-token": request.headers["x-ip-token"]}
    other = Client(os.environ["OTHER_SPACE"], headers=headers, verbose=False)
    return other.predict(text, api_name="/who")


with gr.Blocks() as demo:
    text = gr.Textbox()
    for function in (who, wait, overrun, fail, endless, double, count, relay):
        gr.Button(function.__name__).click(function, text, text, api_name=function.__name__)

demo.queue(max_size=50, default_concurrency_limit=8)
demo.launch(server_name="127.0.0.1", server_port=int(os.environ["GRADIO_SERVER_PORT"]),
            prevent_thread_lock=False, quiet=True)
