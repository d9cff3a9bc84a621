"""The model in training: transformers' Idefics3 with an attention of our own that shares one picture among all its questions.

A picture is encoded once and is the prefix of every question about it. Questions are packed into rows of ROW tokens; a question
sees the prefix and itself, nothing else. So seventeen questions cost one picture, and attention stays small.
Heads on top of it (`Helpers`) teach where and what things are, and are thrown away afterwards.
"""
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from questions import Mention
from scenes import COLORS, KINDS, SIZES, TILES

ROW = 72
"""Tokens of a row; the longest question with its answer has 70."""

IMAGE_TOKENS = TILES * TILES
DECISIVE = 3.0
"""Weight of a token that takes looking; the others of an answer follow from the grammar."""
DIRECT_TOKENS_MAX = 4
"""Longest answer, with its end, to a direct question; its words take looking, whatever they are."""


class Words:
    """The tokenizer, and the prompt's fixed parts as ids."""

    def __init__(self):
        self.tokenizer = Tokenizer.from_file(str(FORM / "tokenizer.json"))
        self.known = {}
        token = self.tokenizer.token_to_id
        self.image, self.end = token("<image>"), token("<end_of_utterance>")
        around, view = token("<fake_token_around_image>"), [self.image] * IMAGE_TOKENS
        start = [token("<|im_start|>"), *self.ids("User:")]
        overview = [around, token("<global-img>"), *view, around]
        self.one_view = start + overview
        """The prefix of transformers and vLLM."""
        self.two_views = [*start, *self.ids(" "), around, token("<row_1_col_1>"), *view, *self.ids("\n\n"), *overview]
        """The prefix of llama.cpp, which renders the template with one string: a space, the picture as a split of one tile, then as an
        overview; both show the same. No line end after the only row of tiles."""
        self.ask = [self.end, *self.ids("\nAssistant:")]
        decisive = [str(n) for n in range(7)] + "one two three four five six left right above below top middle bottom center".split(" ")
        decisive = {self.ids(" " + word)[-1] for word in decisive}
        self.weights = torch.tensor([DECISIVE if i in decisive else 1.0 for i in range(self.tokenizer.get_vocab_size())])

    def ids(self, text):
        if text not in self.known:
            self.known[text] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return self.known[text]


class Batch(NamedTuple):
    """Questions about some pictures, in rows; as many rows for each picture, in the order of the pictures."""
    ids: torch.Tensor        # rows × ROW
    place: torch.Tensor      # rows × ROW: how far after the prefix
    visible: torch.Tensor    # rows × ROW × ROW: which token sees which
    asked: torch.Tensor      # flat positions that predict a token of an answer
    answer: torch.Tensor     # that token
    weight: torch.Tensor     # its weight
    question: torch.Tensor   # which question it belongs to
    tasks: list              # of each question
    pictures: list           # of each question
    named: torch.Tensor      # flat positions that have just named a thing in a prompt
    named_tile: torch.Tensor
    coming: torch.Tensor     # flat positions after which a thing is named in an answer
    coming_tile: torch.Tensor


def pack(words, asked_of, rows_each):
    """`asked_of`: for each picture its questions, of which those are taken that come before the first that does not fit."""
    rows = [[] for _ in range(rows_each * len(asked_of))]
    fields = {key: [] for key in ["asked", "answer", "weight", "question", "named", "named_tile", "coming", "coming_tile"]}
    tasks, pictures = [], []
    for picture, questions in enumerate(asked_of):
        used = [0] * rows_each
        for question in questions:
            prompt, answer = encode(words, question)
            length = len(prompt.ids) + len(answer.ids)
            fitting = [row for row in range(rows_each) if used[row] + length <= ROW]
            if not fitting:
                break
            row = max(fitting, key=lambda row: used[row])
            at = (picture * rows_each + row) * ROW + used[row]
            rows[picture * rows_each + row].append((used[row], prompt.ids + answer.ids))
            used[row] += length
            is_direct = len(answer.ids) <= DIRECT_TOKENS_MAX
            weights = [DECISIVE] * (len(answer.ids) - 1) + [1.0] if is_direct else words.weights[answer.ids].tolist()
            fields["asked"] += range(at + len(prompt.ids) - 1, at + length - 1)
            fields["answer"] += answer.ids
            fields["weight"] += weights
            fields["question"] += [len(tasks)] * len(answer.ids)
            fields["named"] += [at + end - 1 for _, end, _ in prompt.mentions]
            fields["named_tile"] += [tile for *_, tile in prompt.mentions]
            fields["coming"] += [at + len(prompt.ids) + begin - 1 for begin, _, _ in answer.mentions]
            fields["coming_tile"] += [tile for *_, tile in answer.mentions]
            tasks.append(question.task)
            pictures.append(picture)
    ids, place, segment = (torch.full((len(rows), ROW), fill) for fill in (0, 0, -1))
    for row, texts in enumerate(rows):
        for number, (start, tokens) in enumerate(texts):
            ids[row, start:start + len(tokens)] = torch.tensor(tokens)
            place[row, start:start + len(tokens)] = torch.arange(len(tokens))
            segment[row, start:start + len(tokens)] = number
    visible = (segment[:, :, None] == segment[:, None, :]) & torch.ones(ROW, ROW, dtype=torch.bool).tril()
    tensors = {key: torch.tensor(values) for key, values in fields.items()}
    return Batch(ids, place, visible, tasks=tasks, pictures=pictures, **tensors)


class Encoded(NamedTuple):
    ids: list
    mentions: list
    """Begin, end and tile of each thing named."""


def encode(words, question):
    prompt, answer = encode_parts(words, question.prompt), encode_parts(words, question.answer)
    return Encoded(prompt.ids + words.ask, prompt.mentions), Encoded(answer.ids + [words.end], answer.mentions)


def encode_parts(words, parts):
    ids, mentions = [], []
    for part in parts:
        begin = len(ids)
        ids += words.ids(part.text if isinstance(part, Mention) else part)
        if isinstance(part, Mention):
            mentions.append((begin, len(ids), part.thing.tile))
    return Encoded(ids, mentions)


FORM = Path(__file__).parent / "form"
"""The model without its weights: configuration, tokenizer, prompt form, what is done to a picture."""


def shape():
    """The model with weights of no meaning."""
    return AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(FORM), dtype=torch.float32)


def load(folder):
    """The model with the weights of a Hugging Face folder."""
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)


def pixels_of(pictures):
    """Bytes as the processor hands them over: mean and deviation of a half."""
    return (pictures.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()


def see(model, pictures):
    """Features of bytes: pictures × IMAGE_TOKENS × width."""
    return model.model.connector(model.model.vision_model(pixel_values=pixels_of(pictures)).last_hidden_state)


def read(model, words, features, batch, is_two_views):
    """Hidden states of the rows after each layer: flat positions × width."""
    text = model.model.text_model
    prefix = torch.tensor(words.two_views if is_two_views else words.one_view)
    n_pictures, n_prefix = len(features), len(prefix)
    start = text.embed_tokens(prefix).repeat(n_pictures, 1, 1)
    start = start.masked_scatter((prefix == words.image)[None, :, None], torch.cat([features] * (1 + is_two_views), 1).to(start.dtype))
    x = torch.cat([start.flatten(0, 1), text.embed_tokens(batch.ids).flatten(0, 1)])
    positions = torch.cat([torch.arange(n_prefix).repeat(n_pictures), n_prefix + batch.place.flatten()])
    cos, sin = (part[0, :, None].float() for part in text.rotary_emb(x[None], positions[None]))
    hidden_in_prefix = torch.ones(n_prefix, n_prefix, dtype=torch.bool).triu(1)
    hidden_from = torch.cat([torch.zeros(len(batch.ids), ROW, n_prefix, dtype=torch.bool), ~batch.visible], 2)[:, None]
    after = []
    for layer in text.layers:
        x = apply(layer, x, cos, sin, n_pictures, hidden_in_prefix, hidden_from)
        after.append(x[n_pictures * n_prefix:])
    return after


def apply(layer, x, cos, sin, n_pictures, hidden_in_prefix, hidden_from):
    x = x + attend(layer.self_attn, layer.input_layernorm(x), cos, sin, n_pictures, hidden_in_prefix, hidden_from)
    return x + layer.mlp(layer.post_attention_layernorm(x))


def attend(attention, x, cos, sin, n_pictures, hidden_in_prefix, hidden_from):
    """Grouped-query attention with one key-value head: prefixes among themselves, rows to their prefix and themselves."""
    size = attention.head_dim
    q = rotate(attention.q_proj(x).unflatten(-1, (-1, size)), cos, sin)
    k = rotate(attention.k_proj(x).unflatten(-1, (1, size)), cos, sin)[:, 0]
    v = attention.v_proj(x)
    n_prefix, n_rows = hidden_in_prefix.shape[0], hidden_from.shape[0]
    n = n_pictures * n_prefix
    k_prefix, v_prefix = (part[:n].view(n_pictures, n_prefix, size) for part in (k, v))
    of_prefix = mix(q[:n].view(n_pictures, n_prefix, -1, size), k_prefix, v_prefix, hidden_in_prefix)
    rows_each = n_rows // n_pictures
    k_rows, v_rows = (
        torch.cat([before.repeat_interleave(rows_each, 0), part[n:].view(n_rows, ROW, size)], 1) for before, part in ((k_prefix, k), (v_prefix, v))
    )
    of_rows = mix(q[n:].view(n_rows, ROW, -1, size), k_rows, v_rows, hidden_from)
    return attention.o_proj(torch.cat([of_prefix.flatten(0, 1), of_rows.flatten(0, 1)]))


def mix(q, k, v, hidden):
    """q: some × tokens × heads × size; k, v: some × seen tokens × size."""
    n_tokens, n_heads, size = q.shape[1:]
    scores = q.transpose(1, 2).flatten(1, 2) @ k.transpose(1, 2) * size ** -0.5
    scores = scores.unflatten(1, (n_heads, n_tokens)).masked_fill(hidden, -1e9)
    mixed = scores.softmax(-1).to(v.dtype).flatten(1, 2) @ v
    return mixed.unflatten(1, (n_heads, n_tokens)).transpose(1, 2).flatten(2)


def rotate(x, cos, sin):
    one, other = x.chunk(2, -1)
    return (x * cos + torch.cat([-other, one], -1) * sin).to(x.dtype)


class Helpers(nn.Module):
    """Heads that are thrown away after training: what is in each tile and where in it, and which tile a word is about."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.kind, self.color, self.size, self.offset = (nn.Linear(width, n) for n in (1 + len(KINDS), len(COLORS), len(SIZES), 2))
        self.named_norm, self.coming_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.named, self.coming = nn.Linear(width, IMAGE_TOKENS), nn.Linear(width, IMAGE_TOKENS)

    def tiles(self, features, scenes):
        """Loss of what each tile shows, and the share of things whose kind and colour are right."""
        x = self.norm(features.float())
        kind = torch.zeros(len(scenes), IMAGE_TOKENS, dtype=torch.long)
        where = [(picture, thing) for picture, scene in enumerate(scenes) for thing in scene.things]
        for picture, thing in where:
            kind[picture, thing.tile] = 1 + KINDS.index(thing.kind)
        things = [thing for _, thing in where]
        of_things = x[[picture for picture, _ in where], [thing.tile for thing in things]]
        color = torch.tensor([COLORS.index(thing.color) for thing in things])
        size = torch.tensor([SIZES.index(thing.size) for thing in things])
        offset = torch.tensor([[thing.x * TILES % 1000 / 500 - 1, thing.y * TILES % 1000 / 500 - 1] for thing in things])
        kinds, colors = self.kind(x), self.color(of_things)
        weight = torch.ones(1 + len(KINDS))
        weight[0] = 0.3
        loss = F.cross_entropy(kinds.flatten(0, 1), kind.flatten(), weight) + F.cross_entropy(colors, color)
        loss = loss + F.cross_entropy(self.size(of_things), size) + F.mse_loss(self.offset(of_things), offset)
        is_thing = kind > 0
        kind_right = (kinds[..., 1:].argmax(-1) + 1 == kind)[is_thing].float().mean()
        return loss, kind_right.item(), (colors.argmax(-1) == color).float().mean().item()

    def pointers(self, after, batch):
        """Loss of where the named things are, and the share pointed at rightly."""
        named = self.named(self.named_norm(after[1][batch.named].float()))
        coming = self.coming(self.coming_norm(after[2][batch.coming].float()))
        loss = F.cross_entropy(named, batch.named_tile) + F.cross_entropy(coming, batch.coming_tile)
        right = (named.argmax(-1) == batch.named_tile).float().mean(), (coming.argmax(-1) == batch.coming_tile).float().mean()
        return loss, *[share.item() for share in right]


def answers(model, after, batch):
    """Weighted loss of the answers, and which tokens are the model's own choice."""
    x = model.model.text_model.norm(after[-1][batch.asked])
    scores = model.lm_head(x).float()
    loss = (F.cross_entropy(scores, batch.answer, reduction="none") * batch.weight).sum() / batch.weight.sum()
    return loss, scores.argmax(-1) == batch.answer


def whole_answers(batch, is_right):
    """Which questions' greedy answers are right to the last token: greedy decoding goes wrong exactly where not all of the right
    answer's tokens are the model's first choice."""
    whole = torch.ones(len(batch.tasks), dtype=torch.bool)
    whole[batch.question[~is_right]] = False
    return whole.tolist()


def exact_by_task(batch, is_right):
    by_task = {}
    for task, right in zip(batch.tasks, whole_answers(batch, is_right)):
        by_task.setdefault(task, []).append(right)
    return by_task
