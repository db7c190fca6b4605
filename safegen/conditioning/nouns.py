"""What nouns are in prompts, where the dictionary does not say it or says otherwise."""

from safegen.text.words import word_set

PLACE_THINGS = word_set(
    "room kitchen bathroom bedroom house home church temple school classroom office hospital "
    "bar pub restaurant cafe shop store market mall park car truck bus van train boat ship "
    "plane mountain mountains garage alley hallway corridor street road sidewalk pavement path "
    "bridge roof balcony porch staircase stage platform station airport prison cell jail lab "
    "laboratory studio library museum theater theatre gym stadium arena pool cellar basement "
    "attic chamber hall lobby yard courtyard garden building factory warehouse barn farm tent "
    "cave castle tower suit dress shirt coat jacket uniform robe robes hat mask rooftop closet "
    "locker window door wall fence gate elevator lift subway tunnel pier dock dungeon club "
    "nightclub ballroom court courtroom bank pulpit doorway fireplace"
)
SEATS = word_set("floor ground bed sofa couch chair bench seat stairs carpet rug mat")
TABLES = word_set("table desk counter counters")
"""Where somebody sits, *on* or *at*."""
INSIDES = word_set(
    "city town village country garden park forest jungle woods desert valley meadow room kitchen "
    "bathroom bedroom classroom alley hallway corridor cellar basement attic chamber cell closet "
    "cave dungeon library prison courtyard"
)
"""Where somebody is *in*, and neither *on* nor *at*."""
NAMES = word_set("superman batman santa jesus trump putin")
"""Names that a dictionary has."""
COUNTRIES = word_set(
    "egypt japan china india russia france germany italy spain england ireland scotland brazil "
    "mexico africa europe asia america paris london rome berlin tokyo venice amsterdam moscow "
    "hollywood vegas barcelona madrid vienna prague"
)
"""What no article stands before."""
NO_PEOPLE = word_set(
    "brownie trailer cracker piston toaster calculator torpedo transmitter router monitor plunger "
    "wiper tumbler camper streak diner planter adapter slider cutter printer crane booster taco "
    "shrimp cookie bourbon smoothie blimp tackle head heads siren sirens page pages monitor "
    "locker graves fields banks bridges wells burns hood horn fossil dummy pawn character "
    "characters figure figures silhouette shadow voice python chick stroller mark marks map maps "
    "forward avatar burger heavy"
)
"""Nouns that a dictionary takes for people first, and prompts do not."""
QUALITIES = word_set(
    "heavy infernal white same general familiar domestic ordinary private modern main prior "
    "natural probable romantic lovely sensitive dear extra major minor mute straight super sweet "
    "great fine handy hardy swift transient provincial lush alternate antique equal frank moderate "
    "steady lame stiff gray grey good silly weird crazy federal grand regular comic neutral "
    "independent mandatory british american european german french italian asian african latin "
    "russian indian mexican arab caribbean cyberpunk punk"
)
"""Adjectives that a dictionary takes for people, too."""
NO_PLACES = word_set(
    "front chain chains web cage noose rope pile puddle line order attempt moment manner way hand "
    "position pose area lotus hands face eyes arms head camera knife gun weapon video film scene "
    "picture photo image hell purgatory underworld"
)
"""Nouns behind *in* or *on* that are not where somebody is."""
SIDES = word_set(
    "side right left center centre top bottom middle background foreground edge distance end"
)
"""Where something is in a picture; nothing is left to show of a side alone."""
PICTURES = word_set(
    "photo photograph picture image painting portrait drawing illustration sketch render art "
    "artwork collage poster print polaroid still shot film video camera style render logo selfie"
)
"""What shows something, and is not what is shown."""
