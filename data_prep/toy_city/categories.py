"""The kinds of places: where they stand, what draws them, what they are called."""

from __future__ import annotations

import dataclasses

# Letters of the zones in the table below.
ZONE_OF_LETTER = {
    "R": "residential",
    "C": "commercial",
    "E": "educational_governmental",
    "I": "industrial",
    "G": "green_space",
    "A": "agricultural",
    "F": "forest",
    "W": "water",
    "U": "unutilised",
}


@dataclasses.dataclass(frozen=True)
class Category:
    """One second-level category.

    Attributes:
        name: Second level.
        parent: First level.
        weight: Share of a zone's places at average prosperity and specialisation,
            up to a factor common to the zone.
        prosperity: Change of the log of that share a unit of prosperity.
        specialisation: The same for specialisation.
        nouns: Ends of the places' names.
    """

    name: str
    parent: str
    weight: dict[str, float]
    prosperity: float
    specialisation: float
    nouns: tuple[str, ...]


def _category(
    name: str,
    parent: str,
    zones: str,
    nouns: str,
    prosperity: float = 0.0,
    specialisation: float = 0.0,
) -> Category:
    """A row of the table; `zones` holds letters with weights, such as "R3 C8"."""
    weight = {ZONE_OF_LETTER[part[0]]: float(part[1:]) for part in zones.split()}
    return Category(
        name, parent, weight, prosperity, specialisation, tuple(nouns.split("|"))
    )


FOOD, SHOP, MONEY, FIRM = "Food and drink", "Shopping", "Finance", "Companies"
STAY, HEALTH, LEARN, STATE = "Lodging", "Health", "Education", "Government"
CULTURE, SPORT, ROAD, CAR = "Culture and leisure", "Sports", "Transport", "Automotive"
SERVICE, HOME, MAKE, LAND = "Services", "Residences", "Industry", "Countryside"

CATEGORIES: tuple[Category, ...] = (
    _category("Restaurant", FOOD, "R3 C9 E2 I1 G.4", "Restaurant|Kitchen", 0.3),
    _category("Fine dining", FOOD, "R.5 C4 E.4", "Dining Room|Grill", 1.2),
    _category("Cafe", FOOD, "R1.2 C4 E2 G.6", "Coffee|Cafe", 0.9),
    _category("Tea house", FOOD, "R.6 C2 E.5 G.6", "Tea House"),
    _category("Bakery", FOOD, "R1.5 C2 E.6", "Bakery", 0.3),
    _category("Snack stall", FOOD, "R3 C5 E2 I2", "Snacks|Noodle Stall", -1.1),
    _category("Fast food", FOOD, "R1 C3 E1.2 I1", "Burgers|Fried Chicken", -0.3),
    _category("Bar", FOOD, "R.3 C3", "Bar|Taproom", 0.7),
    _category("Shopping mall", SHOP, "C1.4", "Plaza|Mall", 1.0),
    _category("Boutique", SHOP, "R.4 C5", "Boutique|Atelier", 1.3),
    _category("Supermarket", SHOP, "R1.6 C2 E.3", "Supermarket", 0.2),
    _category("Convenience store", SHOP, "R3 C3.5 E1.5 I1.5", "Corner Store", -0.4),
    _category("Wet market", SHOP, "R1.4 C1.8", "Market|Produce Market", -1.0),
    _category("Hardware store", SHOP, "R1 C2 I1.5 A.1", "Hardware|Tools", -0.9),
    _category("Clothing store", SHOP, "R.8 C5", "Clothing|Outfitters", 0.2),
    _category("Electronics store", SHOP, "R.4 C3 I.4", "Electronics", 0.1, 0.7),
    _category("Second-hand shop", SHOP, "R.8 C1.8", "Thrift|Second Hand", -1.1),
    _category("Jeweller", SHOP, "C2", "Jewellers", 1.2),
    _category("Pharmacy", SHOP, "R1.8 C2 E.8", "Pharmacy"),
    _category("Bank", MONEY, "R.8 C4 E.8 I.3", "Bank|Savings Bank", 1.0, 0.4),
    _category("Cash machine", MONEY, "R1 C3 E1 I.4", "Cash Point", 0.2),
    _category("Investment firm", MONEY, "C2.2 E.3", "Capital|Partners", 0.8, 1.2),
    _category("Insurance office", MONEY, "R.2 C2", "Insurance", 0.5, 0.8),
    _category("Pawn shop", MONEY, "R.8 C1.8", "Pawnbrokers|Loans", -1.3),
    _category("Corporate office", FIRM, "R.3 C6 E.6 I1", "Holdings|Group", 0.9, 0.2),
    _category("Software company", FIRM, "R.4 C4 E1.4 I1", "Software|Systems", 0.1, 1.4),
    _category("Research laboratory", FIRM, "C.8 E2.5 I.8", "Laboratory", 0.2, 1.2),
    _category("Trading company", FIRM, "R.3 C3 I1.2", "Trading", 0.0, -0.9),
    _category("Courier depot", FIRM, "R1 C2.4 E.5 I2.5", "Couriers|Express", 0.0, -1.3),
    _category("Freight forwarder", FIRM, "R.2 C2.2 I2.5", "Freight|Cargo", 0.0, -1.4),
    _category("Hotel", STAY, "R.2 C2.6 E.2", "Hotel|Grand Hotel", 1.1),
    _category("Hostel", STAY, "R.6 C1.4 E.6", "Hostel|Guest House", -0.8),
    _category("Hospital", HEALTH, "R.1 E1.6", "Hospital", 0.2),
    _category("Clinic", HEALTH, "R1.2 C.8 E3", "Clinic|Surgery"),
    _category("Dentist", HEALTH, "R.9 C1.2 E.8", "Dental Practice", 0.7),
    _category("Kindergarten", LEARN, "R1.4 E2", "Kindergarten|Nursery"),
    _category("School", LEARN, "R.5 E5", "Primary School|Middle School"),
    _category("University", LEARN, "E2.5", "University|Faculty", 0.3, 0.4),
    _category("Training centre", LEARN, "R.7 C1.4 E3", "Academy|Tutoring", 0.5),
    _category("Library", LEARN, "R.1 E1.6", "Library"),
    _category("Government office", STATE, "R.3 C.4 E4.5", "Bureau|District Office"),
    _category("Police station", STATE, "R.3 C.3 E1.4", "Police Station"),
    _category("Community centre", STATE, "R1.8 E1.2 A.1", "Community Centre"),
    _category("Museum", CULTURE, "C.3 E1 G.5", "Museum|Gallery", 0.6),
    _category("Cinema", CULTURE, "C1.2", "Cinema", 0.5),
    _category("Internet cafe", CULTURE, "R.7 C1.8 E.6", "Net Cafe", -0.9),
    _category("Park", CULTURE, "R.2 G4 W.4", "Park|Gardens"),
    _category("Scenic spot", CULTURE, "G1.5 F1 W1 A.1", "Viewpoint|Pavilion"),
    _category("Fitness club", SPORT, "R.8 C1.6 E.6", "Fitness|Pilates Studio", 1.1),
    _category("Sports field", SPORT, "R.4 E1.6 G1.2", "Sports Ground"),
    _category("Bus stop", ROAD, "R2 C2 E1.5 I1.5 G.5 A.5", "Bus Stop"),
    _category("Metro entrance", ROAD, "R.4 C1.2 E.5", "Metro Station", 0.3),
    _category("Car park", ROAD, "R1 C2.5 E1 I1 G.5", "Car Park", 0.3),
    _category("Petrol station", CAR, "C.4 I1 U.4 A.15", "Fuel Station"),
    _category("Car dealer", CAR, "C1 I.8", "Motors", 0.8, -0.2),
    _category("Repair shop", CAR, "R1.6 C2.6 I2", "Repairs|Auto Service", -1.2),
    _category("Hair salon", SERVICE, "R2.4 C2.8 E.4", "Hair Salon|Barber", 0.1),
    _category("Laundry", SERVICE, "R1.6 C1.4 E.3", "Laundry|Dry Cleaners", -0.3),
    _category("Estate agent", SERVICE, "R1.3 C1.8", "Estate Agents", 0.7),
    _category("Scrap dealer", SERVICE, "R.6 C.5 I1 U2", "Scrap|Recycling", -1.3),
    _category("Housing estate", HOME, "R4 C.6", "Court|Residences", 0.1),
    _category("Dormitory", HOME, "R.4 E1.4 I1", "Dormitory|Hostel Block", -0.5),
    _category("Factory", MAKE, "I6", "Works|Manufacturing"),
    _category("Warehouse", MAKE, "C.3 I4 U1", "Warehouse|Storage", -0.2, -1.1),
    _category("Construction yard", MAKE, "I1 U2", "Builders' Yard"),
    _category("Farm", LAND, "A3 F.3", "Farm|Orchard"),
    _category("Village shop", LAND, "A1 F.1", "Village Store"),
    _category("Forest station", LAND, "F1", "Ranger Station"),
)

# Places a hectare at average density, prosperity and specialisation.
PLACES_PER_HA = {
    "residential": 9.5,
    "commercial": 23.0,
    "educational_governmental": 13.0,
    "industrial": 8.0,
    "green_space": 2.0,
    "agricultural": 0.85,
    "forest": 0.45,
    "water": 0.25,
    "unutilised": 0.8,
}
# Names open with a street or quarter.
OPENINGS = (
    *("Willow", "Harbour", "Lantern", "Jade", "Orchard", "Maple", "Silver", "River"),
    *("Lotus", "Granite", "Sunrise", "Bamboo", "Cedar", "Old Mill", "North Gate"),
    *("South Gate", "Plum Blossom", "Heron", "Crane", "Copper", "Market", "Temple"),
    *("Garden", "Stone Bridge", "Camphor", "Cloud", "Pearl", "Phoenix", "Juniper"),
    *("Ferry", "Magnolia", "Canal", "Station", "Victory", "Unity", "Golden", "Cherry"),
)
SECOND_WORDS = ("", "", "Street", "Lane", "Road", "Hill", "Court", "Square", "Avenue")
