"""Chat templates in the styles that models come with, written for these tests: each comment says what matters."""

# Tools in the system turn, calls as JSON in tags, each answer a turn of its own.
CHATML_TOOLS = """\
{%- if tools %}<|im_start|>tools
{% for tool in tools %}{{ tool.function | tojson }}
{% endfor %}<|im_end|>
{% endif -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] -%}
<call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</call>
{%- endfor -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}"""

# Llama 3: begins with bos, trims contents, one call at once, calls stand in the content's place.
LLAMA3 = """\
{{- "<|begin_of_text|>" -}}
{%- if tools %}{{ "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- for tool in tools %}{{ tool | tojson }}{% endfor %}{{ "<|eot_id|>" }}
{%- endif -%}
{%- for message in messages -%}
{%- if message.tool_calls -%}
{%- if message.tool_calls | length != 1 %}
{{- raise_exception("This model only supports single tool-calls at once!") }}
{%- endif -%}
{{- "<|start_header_id|>assistant<|end_header_id|>\n\n" -}}
{%- set call = message.tool_calls[0].function -%}
{{- '{"name": "' + call.name + '", "parameters": ' + (call.arguments | tojson) + "}<|eot_id|>" -}}
{%- elif message.role == "tool" -%}
{{- "<|start_header_id|>ipython<|end_header_id|>\n\n" + (message.content | tojson) + "<|eot_id|>" -}}
{%- else -%}
{{- "<|start_header_id|>" + message.role + "<|end_header_id|>\n\n" + (message.content | trim) + "<|eot_id|>" -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ "<|start_header_id|>assistant<|end_header_id|>\n\n" }}{% endif -%}"""

# Qwen 2.5: a default system message; calls in tags; answers of tools in one user's turn.
QWEN25 = """\
{%- if tools -%}
{{- "<|im_start|>system\nYou may call:" -}}
{%- for tool in tools %}{{ "\n" + (tool | tojson) }}{% endfor -%}
{{- "<|im_end|>\n" -}}
{%- elif messages[0].role != "system" -%}
{{- "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == "assistant" and message.tool_calls -%}
{{- "<|im_start|>assistant" -}}
{%- if message.content %}{{ "\n" + message.content }}{% endif -%}
{%- for call in message.tool_calls -%}
{{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' -}}
{{- (call.function.arguments | tojson) + "}\n</tool_call>" -}}
{%- endfor -%}
{{- "<|im_end|>\n" -}}
{%- elif message.role == "tool" -%}
{%- if loop.index0 == 0 or messages[loop.index0 - 1].role != "tool" %}{{ "<|im_start|>user" }}{% endif -%}
{{- "\n<tool_response>\n" + message.content + "\n</tool_response>" -}}
{%- if loop.last or messages[loop.index0 + 1].role != "tool" %}{{ "<|im_end|>\n" }}{% endif -%}
{%- else -%}
{{- "<|im_start|>" + message.role + "\n" + message.content + "<|im_end|>\n" -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\n" }}{% endif -%}"""

# Qwen 3: an answer has its thoughts, empty ones too, while it is the newest; of earlier ones they are taken out.
QWEN3 = """\
{%- set found = namespace(last=-1) -%}
{%- for message in messages %}{% if message.role == "user" %}{% set found.last = loop.index0 %}{% endif %}{% endfor -%}
{%- for message in messages -%}
{%- if message.role == "assistant" -%}
{%- set thought = "" -%}
{%- set content = message.content -%}
{%- if "</think>" in content -%}
{%- set thought = content.split("</think>")[0].split("<think>")[-1].strip("\n") -%}
{%- set content = content.split("</think>")[-1].lstrip("\n") -%}
{%- endif -%}
{%- if loop.index0 > found.last -%}
{{- "<|im_start|>assistant\n<think>\n" + thought + "\n</think>\n\n" + content + "<|im_end|>\n" -}}
{%- else -%}
{{- "<|im_start|>assistant\n" + content + "<|im_end|>\n" -}}
{%- endif -%}
{%- else -%}
{{- "<|im_start|>" + message.role + "\n" + message.content + "<|im_end|>\n" -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\n" }}{% endif -%}"""

# Mistral: turns must alternate, the system message and the tools are in the last user's turn, ids have nine characters.
MISTRAL = """\
{%- if messages[0].role == "system" -%}
{%- set system = messages[0].content %}{% set turns = messages[1:] -%}
{%- else %}{% set turns = messages %}{% endif -%}
{%- set users = turns | selectattr("role", "equalto", "user") | list -%}
{%- set seen = namespace(role="assistant", users=0) -%}
{{- "<s>" -}}
{%- for message in turns -%}
{%- if message.role in ("user", "assistant") and not message.tool_calls -%}
{%- if message.role == seen.role and message.role == "user" -%}
{{- raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") -}}
{%- endif -%}
{%- endif -%}
{%- set seen.role = message.role -%}
{%- if message.role == "user" -%}
{%- set seen.users = seen.users + 1 -%}
{%- if tools and seen.users == users | length -%}
{{- "[AVAILABLE_TOOLS]" + (tools | tojson) + "[/AVAILABLE_TOOLS]" -}}
{%- endif -%}
{%- if system is defined and seen.users == users | length -%}
{{- "[INST] " + system + "\n\n" + message.content + "[/INST]" -}}
{%- else %}{{ "[INST] " + message.content + "[/INST]" }}{% endif -%}
{%- elif message.tool_calls -%}
{{- "[TOOL_CALLS][" -}}
{%- for call in message.tool_calls -%}
{%- if call.id | length != 9 -%}
{{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") -}}
{%- endif -%}
{{- (call.function | tojson)[:-1] + ', "id": "' + call.id + '"}' + ("" if loop.last else ", ") -}}
{%- endfor -%}
{{- "]</s>" -}}
{%- elif message.role == "tool" -%}
{{- '[TOOL_RESULTS]{"content": ' + message.content + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' -}}
{%- else -%}
{{- " " + (message.content | trim) + "</s>" -}}
{%- endif -%}
{%- endfor -%}"""

# Gemma 2: no system role, turns must alternate, the assistant is called model, contents are trimmed.
GEMMA = """\
{{- "<bos>" -}}
{%- if messages[0].role == "system" %}{{ raise_exception("System role not supported") }}{% endif -%}
{%- for message in messages -%}
{%- if (message.role == "user") != (loop.index0 % 2 == 0) -%}
{{- raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") -}}
{%- endif -%}
{%- set role = "model" if message.role == "assistant" else message.role -%}
{{- "<start_of_turn>" + role + "\n" + (message.content | trim) + "<end_of_turn>\n" -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ "<start_of_turn>model\n" }}{% endif -%}"""

# Phi: one end for a turn, another for the whole text.
PHI = """\
{%- for message in messages -%}
{{- "<|" + message.role + "|>" + message.content + "<|end|>" -}}
{%- endfor -%}
{{- "<|assistant|>" if add_generation_prompt else "<|endoftext|>" -}}"""

# A model that always thinks: its prompt opens the thoughts, and its conversations do not hold them.
REASONER = """\
{%- for message in messages -%}
{{- "<|" + message.role + "|>" + message.content + "<|end|>" -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ "<|assistant|><think>\n" }}{% endif -%}"""

# No token marks a turn, and the prompt ends with a blank, which tokenizers join with the next word.
PLAIN = """\
{%- for message in messages -%}
{{- message.role + ": " + message.content + eos_token + "\n" -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ "assistant: " }}{% endif -%}"""

# Joins arguments to a text, as DeepSeek's did.
TEXT_ARGUMENTS = """\
{%- for message in messages -%}
{{- "<" + message.role + ">" + message.content -}}
{%- for call in message.tool_calls or [] %}{{ call.function.name + " " + call.function.arguments }}{% endfor -%}
{{- "</s>" -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ "<assistant>" }}{% endif -%}"""

# Knows nothing of tools.
CHATML = """\
{%- for message in messages -%}
{{- "<|im_start|>" + message.role + "\n" + message.content + "<|im_end|>\n" -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\n" }}{% endif -%}"""

ALL = {name.lower(): text for name, text in list(globals().items()) if name.isupper() and isinstance(text, str)}
