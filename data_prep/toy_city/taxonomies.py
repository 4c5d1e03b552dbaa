"""Names of categories in a city: lists as different publishers keep them.

"plain" has the names of `CATEGORIES`. Every other taxonomy keeps some of them, renames
some, divides some into finer ones and merges some. A volunteers' map, a business
directory, an official register and a survey differ in this way.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from data_prep.toy_city.categories import CATEGORIES
from mmgr_jax.errors import InputError
from mmgr_jax.settings import nearest


def _table(text: str) -> dict[str, tuple[str, ...]]:
    """Lines "Plain, Plain: Name | Name": what some plain names are called, each alike.

    Of several names a place has one or another.
    """
    table = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        plain, _, names = line.partition(": ")
        table |= dict.fromkeys(plain.split(", "), tuple(names.split(" | ")))
    return table


# By taxonomy, then by first or second level; a name that is left out stays.
NAMES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "plain": {},
    "street_map": _table("""
        Restaurant: Restaurant | Pizza restaurant | Noodle restaurant
        Fine dining: Restaurant
        Snack stall: Food stand
        Bar: Pub | Bar
        Boutique, Clothing store: Clothes shop
        Convenience store: Convenience shop | Kiosk
        Wet market: Marketplace
        Hardware store: Hardware shop | Paint shop
        Second-hand shop: Charity shop
        Cash machine: ATM
        Investment firm, Insurance office, Corporate office, Trading company: Office
        Software company: IT office
        Courier depot: Post depot
        Hostel: Hostel | Guest house
        Clinic: Doctors
        Training centre: Language school | Music school
        Government office: Townhall | Public office
        Internet cafe: Internet access
        Scenic spot: Viewpoint | Attraction
        Sports field: Football pitch | Tennis court
        Metro entrance: Subway entrance
        Car park: Parking
        Petrol station: Fuel
        Repair shop: Car repair | Bicycle repair
        Hair salon: Hairdresser
        Housing estate: Residential area
        Factory: Works
        Food and drink: Sustenance
        Culture and leisure: Leisure
        Transport, Automotive: Transport
        Residences, Industry, Countryside: Land use
    """),
    "directory": _table("""
        Restaurant: Local cuisine | Noodle house | Hotpot | Restaurant
        Snack stall: Snack bar
        Fast food: Fast food chain | Fried chicken
        Bar: Bar | Karaoke
        Shopping mall: Shopping mall | Department store
        Clothing store: Women's clothing | Men's clothing
        Electronics store: Mobile phones | Computers
        Jeweller: Jewellery and watches
        Investment firm, Pawn shop: Loans and investment
        Corporate office, Trading company: Company
        Software company: Software company | Internet company
        Freight forwarder, Courier depot: Logistics
        Hotel: Business hotel | Luxury hotel
        Hostel: Inn
        Clinic: Clinic | Traditional medicine
        Training centre: Language training | Exam training
        Government office: Government office | Tax office
        Museum, Library: Museum or library
        Internet cafe: Net bar
        Fitness club: Gym | Yoga
        Bus stop: Bus station
        Hair salon: Hair salon | Nail studio
        Estate agent: Property agency
        Housing estate: Residential quarter
        Dormitory: Residential quarter
        Petrol station: Petrol station | Charging station
        Car dealer: Car sales
        Repair shop: Car service
        Food and drink: Dining
        Companies: Enterprises
        Lodging: Accommodation
        Sports: Sports and leisure
        Services: Daily life
    """),
    "registry": _table("""
        Restaurant, Fine dining, Snack stall, Fast food: Restaurant
        Cafe, Tea house, Bar: Beverage serving
        Convenience store, Village shop: Food retail
        Wet market: Stalls and markets
        Boutique, Clothing store: Clothing retail
        Hardware store: Hardware retail
        Electronics store: Electronics retail
        Cash machine: Bank
        Investment firm: Fund management
        Pawn shop: Other credit granting
        Corporate office: Head office
        Software company: Computer programming
        Trading company: Wholesale trade
        Courier depot: Postal and courier activities
        Freight forwarder: Cargo handling
        Hostel: Hotel
        Clinic, Dentist: Medical and dental practice
        School: Primary education | Secondary education
        Training centre: Other education
        Government office, Police station: Public administration
        Petrol station: Fuel retail
        Car dealer: Motor vehicle sales
        Repair shop: Motor vehicle repair
        Hair salon: Hairdressing and beauty
        Scrap dealer: Recovery of materials
        Factory: Metal manufacture | Textile manufacture | Food manufacture
        Food and drink, Lodging: Accommodation and food service
        Shopping, Automotive: Wholesale and retail trade
        Companies, Services: Business activities
        Culture and leisure, Sports: Arts and recreation
        Industry: Manufacturing and storage
    """),
    "survey": _table("""
        Restaurant, Fine dining, Fast food, Snack stall: Restaurant
        Cafe, Tea house, Bakery: Cafe
        Boutique, Clothing store, Jeweller, Electronics store: Shop
        Hardware store, Second-hand shop, Pharmacy: Shop
        Supermarket, Convenience store, Village shop: Supermarket
        Investment firm, Insurance office, Pawn shop, Bank: Bank
        Corporate office, Software company, Trading company: Office
        Research laboratory: Office
        Courier depot, Freight forwarder: Freight
        Hotel, Hostel: Hotel
        Hospital, Clinic, Dentist: Hospital
        Kindergarten, School, Training centre: School
        Government office, Community centre: Government office
        Cinema, Internet cafe, Museum: Entertainment
        Park, Scenic spot: Park
        Fitness club, Sports field: Sports
        Bus stop, Metro entrance: Transit stop
        Car dealer, Repair shop: Garage
        Hair salon, Laundry, Estate agent: Service
        Housing estate, Dormitory: Dwelling
        Factory, Construction yard: Factory
        Shopping, Finance, Companies, Services, Automotive: Commerce
        Health, Education, Government: Public
        Culture and leisure, Sports: Recreation
        Industry: Production
    """),
}


def names(
    taxonomy: str,
    category: Int[np.ndarray, " m"],
    variety: Float[np.ndarray, " m"],
) -> tuple[list[str], list[str]]:
    """The second and first level that places have in a taxonomy.

    Args:
        taxonomy: One of `NAMES`.
        category: Index of every place into `CATEGORIES`.
        variety: Which of a category's names it goes by, 0 to 1.
    """
    levels = _levels(taxonomy)
    second = [
        levels[k][0][int(share * len(levels[k][0]))]
        for k, share in zip(category, variety, strict=True)
    ]
    return second, [levels[k][1] for k in category]


@functools.cache
def _levels(taxonomy: str) -> list[tuple[tuple[str, ...], str]]:
    """What every entry of `CATEGORIES` may be called, and its first level.

    One name has one first level, that of the first category it stands for.
    """
    table = NAMES[taxonomy]
    parents: dict[str, str] = {}
    levels = []
    for category in CATEGORIES:
        called = table.get(category.name, (category.name,))
        parent = table.get(category.parent, (category.parent,))[0]
        parent = next((parents[name] for name in called if name in parents), parent)
        parents |= dict.fromkeys(called, parent)
        levels.append((called, parent))
    return levels


def mapped(unmapped: Sequence[str]) -> Bool[np.ndarray, " k"]:
    """Whether a POI table holds each of `CATEGORIES`.

    Args:
        unmapped: Plain names of categories and of first levels that it lacks.

    Raises:
        InputError: If a name is none of those.
    """
    known = {name for c in CATEGORIES for name in (c.name, c.parent)}
    for name in unmapped:
        if name not in known:
            raise InputError(
                f"config.toy_city.poi_habits.unmapped has {name!r}"
                f"{nearest(name, known)}; give categories or first levels of "
                "data_prep/toy_city/categories.py."
            )
    lacking = set(unmapped)
    return np.array([lacking.isdisjoint((c.name, c.parent)) for c in CATEGORIES])
