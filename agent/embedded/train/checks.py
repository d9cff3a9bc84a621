"""What must hold of these scripts, checked in seconds and without scenes or weights: `python checks.py`."""
import random

import torch

import model as tiny
import questions
from scenes import COLORS, KINDS, OBJECTS_MAX, PLACES, SIZES, TIMES, WEATHERS, Scene, Thing, facts_of, scene_of
from score import score


def any_scene(chance):
    things = [Thing(chance.choice(KINDS), chance.choice(COLORS), chance.choice(SIZES), chance.randrange(100, 900), chance.randrange(100, 900))
              for _ in range(chance.randint(1, OBJECTS_MAX))]
    place = chance.choice(PLACES)
    weather = "indoors" if place == "room" else chance.choice(WEATHERS[:3])
    return Scene(place, chance.choice(TIMES), weather, sorted(things, key=lambda thing: thing.x))


def facts_survive_packing(scene):
    truth = dict(place=scene.place, time=scene.time, weather=scene.weather, objects=[thing._asdict() for thing in scene.things])
    assert scene_of(facts_of(truth)) == scene


def parts_encode_to_the_tokens_of_the_whole(words, question):
    for parts in question.prompt, question.answer:
        assert tiny.encode_parts(words, parts).ids == words.ids(questions.text_of(parts)), questions.text_of(parts)


def every_question_fits_a_row(words, question):
    assert sum(len(part.ids) for part in tiny.encode(words, question)) <= tiny.ROW, questions.text_of(question.prompt)


def right_answers_score_one(scene, question):
    if question.task in questions.EDGE_VISION:
        scores = score(question.task, questions.text_of(question.answer), scene)
        assert all(value == 1 for value in scores.values()), (scores, questions.text_of(question.answer), scene)


@torch.no_grad()
def shared_pictures_read_as_if_each_question_had_its_own(words, scenes, chance):
    model, rows_each = tiny.shape().eval(), 6
    pictures = torch.randint(256, (len(scenes), 96, 96, 3), dtype=torch.uint8)
    asked = [questions.for_validation(scene, chance) for scene in scenes]
    batch = tiny.pack(words, asked, rows_each)
    assert len(batch.tasks) == sum(map(len, asked)), "questions were left out"
    for prefix, is_two_views in [(words.one_view, False), (words.two_views, True)]:
        last = tiny.read(model, words, tiny.see(model, pictures), batch, is_two_views)[-1].view(-1, tiny.ROW, 192)
        last = model.model.text_model.norm(last)
        for row in range(0, len(batch.ids), rows_each):
            n = int((batch.place[row, 1:] == 0).nonzero()[0]) + 1
            ids = torch.tensor([prefix + batch.ids[row, :n].tolist()])
            pixels = tiny.pixels_of(pictures[row // rows_each][None])[:, None].repeat(1, 1 + is_two_views, 1, 1, 1)
            alone = model.model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels).last_hidden_state
            assert torch.allclose(alone[0, len(prefix):], last[row, :n], atol=1e-4), (row, is_two_views)


def main():
    chance, words = random.Random(5), tiny.Words()
    scenes = [any_scene(chance) for _ in range(300)]
    for scene in scenes:
        facts_survive_packing(scene)
        training = questions.for_training(scene, chance)
        some = questions.for_validation(scene, chance) + [next(training) for _ in range(20)]
        some += [questions.listing(task, scene, chance, is_suite_wording=False) for task in questions.LISTED]
        for question in some:
            parts_encode_to_the_tokens_of_the_whole(words, question)
            every_question_fits_a_row(words, question)
            right_answers_score_one(scene, question)
    shared_pictures_read_as_if_each_question_had_its_own(words, scenes[:3], chance)
    print("all hold")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
