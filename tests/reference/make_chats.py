"""Makes data/chats.json: conversations as Transformers renders them through chat templates.

    python make_chats.py

The templates are our own, cut down to what decides: each follows the structure of one that is in
use, and says which. A case whose template raises has null for its text.
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import _compile_jinja_template

OUT = Path(__file__).parent / "data" / "chats.json"

ALTERNATE = """{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('out of turn') }}{%- endif -%}"""
SPLIT_SYSTEM = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
"""

# name, format, default system message, template
TEMPLATES = [
    ("chatml_plain", "chatml", "", "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' "
     "+ message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
     "{{ '<|im_start|>assistant\n' }}{% endif %}"),
    # SmolLM2: a newline as it is within the literal
    ("chatml_default", "chatml", "Answer like a pirate's parrot", """{% for message in messages %}{% if loop.first and """
     """messages[0]['role'] != 'system' %}{{ "<|im_start|>system\nAnswer like a pirate's parrot<|im_end|>\n" }}"""
     """{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"""
     """{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""),
    # Qwen 2.5: escapes, and a branch for tools that opens a system turn first
    ("chatml_tools", "chatml", "You're a terse clerk.", r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {{- 'You\'re a terse clerk.' }}
    {{- '# Tools<|im_end|>\n' }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou\'re a terse clerk.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) or message.role == "assistant" %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}"""),
    # Qwen 3: earlier thoughts are dropped
    ("chatml_thoughts", "chatml", "", r"""{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == 'assistant' and '</think>' in content %}
        {%- set content = content.split('</think>')[-1].lstrip('\n') %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""),
    ("llama2", "llama2", "", SPLIT_SYSTEM + "{%- for message in loop_messages -%}" + ALTERNATE + r"""
{%- if loop.index0 == 0 and system_message is defined -%}
    {%- set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] -%}
{%- else -%}{%- set content = message['content'] -%}{%- endif -%}
{%- if message['role'] == 'user' -%}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
{%- elif message['role'] == 'assistant' -%}{{ ' '  + content.strip() + ' ' + eos_token }}{%- endif -%}
{%- endfor -%}"""),
    ("llama3", "llama3", "", "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
     "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
     "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
     "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"),
    # Llama 3.1 to 3.3; what asks for today's date falls back to the one it carries
    ("llama31", "llama3", "", r"""{{- bos_token }}
{%- if not date_string is defined %}
    {%- if never is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "17 Mar 2025" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{{- "Cutting Knowledge Date: May 2021\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}"""),
    # Mistral 7B Instruct 0.1, 0.2 (later edition), 0.3, Nemo
    ("mistral_1", "mistral", "", "{{ bos_token }}{% for message in messages %}" + ALTERNATE +
     "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
     "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}"
     "{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}"),
    ("mistral_2", "mistral", "", SPLIT_SYSTEM + "{{- bos_token }}{%- for message in loop_messages %}" + ALTERNATE + r"""
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- " [INST] " + system_message + "\n\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- " [INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + eos_token}}
    {%- else %}{{- raise_exception("no such role") }}{%- endif %}
{%- endfor %}"""),
    ("mistral_3", "mistral", "", SPLIT_SYSTEM + "{{- bos_token }}{%- for message in loop_messages %}" + ALTERNATE + r"""
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- else %}{{- raise_exception("no such role") }}{%- endif %}
{%- endfor %}"""),
    ("mistral_nemo", "mistral", "", SPLIT_SYSTEM + "{{- bos_token }}{%- for message in loop_messages %}" + ALTERNATE + r"""
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST]" + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST]" + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- message["content"] + eos_token}}
    {%- else %}{{- raise_exception("no such role") }}{%- endif %}
{%- endfor %}"""),
    ("gemma", "gemma", "", "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}"
     "{% endif %}{% for message in messages %}" + ALTERNATE + "{% if (message['role'] == 'assistant') %}"
     "{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
     "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"),
    ("gemma3", "gemma", "", r"""{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}""" + ALTERNATE + r"""
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else "") }}
    {{- message['content'] | trim }}{{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model
' }}{%- endif -%}"""),
    ("phi3", "phi3", "", "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + "
     "message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + "
     "'<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}"
     "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"),
]  # fmt: skip

BOS = {"llama2": "<s>", "llama3": "<|begin_of_text|>", "mistral": "<s>", "gemma": "<bos>"}
EOS = {"llama2": "</s>", "mistral": "</s>", "phi3": "<|endoftext|>"}

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
CONVERSATIONS = [
    [(USER, "Hi")],
    [(SYSTEM, "Be brief."), (USER, "  What's up?\n")],
    [(USER, "One"), (ASSISTANT, " Two "), (USER, "Three {{ 1 + 1 }} 'quoted'")],
    [(SYSTEM, "\nYou sing.  "), (USER, "1"), (ASSISTANT, "<think>\nhm\n</think>\n\nla"), (USER, "2"), (ASSISTANT, "<think></think>lo</think>\n li"), (USER, "3")],
    [(SYSTEM, "S"), (USER, "u"), (ASSISTANT, "a")],
    [(USER, "你好 🙂"), (ASSISTANT, "")],
    [(ASSISTANT, "I start"), (USER, "no")],
    [(USER, "a"), (USER, "b")],
    [(USER, "a"), (SYSTEM, "late")],
    [(SYSTEM, "only")],
]  # fmt: skip


def render(template, kind, messages, reply):
    try:
        return _compile_jinja_template(template).render(
            messages=messages, add_generation_prompt=reply, bos_token=BOS.get(kind, ""), eos_token=EOS.get(kind, ""),
            tools=None,
        )  # fmt: skip
    except Exception as error:
        assert "out of turn" in str(error) or "no such role" in str(error) or "no system" in str(error), error
        return None


def main():
    chats = []
    for name, kind, default_system, template in TEMPLATES:
        cases = []
        for conversation in CONVERSATIONS:
            messages = [{"role": role, "content": content} for role, content in conversation]
            for reply in (True, False):
                cases.append({"messages": conversation, "reply": reply, "text": render(template, kind, messages, reply)})
        chats.append({"name": name, "format": kind, "default_system": default_system, "bos": BOS.get(kind, ""),
                      "template": template, "cases": cases})  # fmt: skip
    OUT.write_text(json.dumps(chats, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    print(f"{OUT.name}: {len(chats)} templates, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
