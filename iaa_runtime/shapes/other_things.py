"""Phrases for things that no scene holds: what people ask for who do not know yet that the model knows only shapes."""

from __future__ import annotations

import random

from .language import EXTREMES, RELATIONS, Expression, describe
from .scenes import COLORS, SIZES, Scene

THINGS = tuple(
    thing.strip()
    for thing in """
    man, woman, child, boy, girl, baby, person, face, head, hand, foot, eye, nose, mouth, beard, hat, cap, helmet,
    crown, shirt, jacket, coat, dress, skirt, scarf, glove, shoe, boot, sock, watch, necklace, bag, backpack,
    umbrella, suit, suitcase, dog, cat, horse, cow, sheep, goat, pig, elephant, bear, zebra, giraffe, lion, tiger,
    fox, wolf, rabbit, mouse, monkey, kangaroo, deer, bird, duck, chicken, eagle, owl, parrot, penguin, fish, shark,
    whale, dolphin, turtle, snake, frog, spider, bee, butterfly, ant, dragon, dinosaur, unicorn, car, bus, truck, van,
    taxi, train, tram, bicycle, motorcycle, scooter, boat, ship, canoe, airplane, helicopter, rocket, wheel, engine,
    traffic light, stop sign, parking meter, fire hydrant, road, street, bridge, tunnel, house, building, tower,
    church, castle, barn, tent, door, window, roof, wall, fence, gate, chimney, tree, flower, leaf, bush, forest,
    mushroom, cactus, mountain, hill, river, lake, beach, island, cloud, sun, moon, rainbow, snowman, rock, fire,
    chair, table, sofa, bed, desk, shelf, cupboard, drawer, mirror, carpet, curtain, lamp, candle, clock, vase,
    pillow, blanket, towel, bottle, glass, cup, mug, bowl, plate, fork, knife, spoon, pan, pot, kettle, oven, fridge,
    toaster, microwave, sink, toilet, bathtub, shower, apple, banana, orange juice, lemon, cherry, strawberry, grape,
    pear, peach, carrot, potato, tomato, onion, loaf of bread, cake, pizza, sandwich, burger, hot dog, donut, egg, ice
    cream, coffee, wine glass, book, newspaper, letter, map, pen, pencil, brush, hammer, saw, nail, screw, rope,
    chain, key, lock, computer, laptop, keyboard, screen, television, radio, telephone, camera, remote control,
    battery, cable, robot, drone, ball, kite, frisbee, skateboard, surfboard, snowboard, tennis racket, baseball bat,
    guitar, piano, drum, violin, trumpet, teddy bear, doll, toy, balloon, gift, flag, logo, word, number, price tag,
    barcode, coin, wallet, basket, box, bucket, barrel, ladder, broom, bench, fountain, statue, grave, swimming pool,
    football player, police officer, license plate, street lamp, product, hexagon, heart, arrow
    """.replace("\n", " ").split(",")
)
"""None of them is drawn; words that could mean a shape, such as "object" or "thing", are not among them."""

_TAUGHT = tuple(thing for number, thing in enumerate(THINGS) if number % 5)
HELD_OUT = tuple(thing for thing in THINGS[::5] if not any(thing in taught.split() for taught in _TAUGHT))
"""Never trained on, alone or as a word of another: what these score tells how an unheard word does."""


def other_expression(scene: Scene, rng: random.Random, held_out: bool = True) -> Expression:
    """A phrase such as ``the red car``, ``a dog`` or ``the tree left of the star``.

    Args:
        scene: Whose shapes may be landmarks.
        rng: Source of the choice.
        held_out: Choose among the things that training never speaks of, or among the others.
    """
    thing = rng.choice(HELD_OUT if held_out else _TAUGHT)
    form = rng.choices(("plain", "color", "size", "extreme", "relation"), (60, 15, 8, 7, 10))[0]
    if form in ("color", "size", "extreme"):
        thing = f"{rng.choice({'color': tuple(COLORS), 'size': tuple(SIZES), 'extreme': EXTREMES}[form])} {thing}"
    article = rng.choices(("the", "an" if thing[0] in "aeiou" else "a", ""), (60, 25, 15))[0]
    phrase = f"{article} {thing}".strip()
    if form == "relation":
        phrase += f" {rng.choice(RELATIONS)} the {describe(rng.choice(scene.shapes), rng)}"
    return Expression(phrase, (), "other")
