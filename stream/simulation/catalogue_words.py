"""Holds the words that the simulated catalogue is made of.

Twenty categories, four of them with Chinese titles.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Words(NamedTuple):
    """Holds the words of a category: a title is a kind and a noun.

    `queries` are what users of the category search for.
    """

    kinds: tuple[str, ...]
    nouns: tuple[str, ...]
    queries: tuple[str, ...]


CATEGORIES: Final[dict[str, Words]] = {
    "Camping": Words(
        ("Alpine", "Ultralight", "Two-Person", "Winter"),
        ("Tent", "Sleeping Bag", "Camp Stove", "Lantern", "Water Filter"),
        ("tent for two", "warm sleeping bag", "camping stove"),
    ),
    "Trail Running": Words(
        ("Ridge", "Swift", "Canyon", "Storm"),
        ("Running Shoes", "Hydration Vest", "GPS Watch", "Headlamp", "Gaiters"),
        ("trail shoes", "running vest", "ultra marathon"),
    ),
    "Cycling": Words(
        ("Carbon", "Gravel", "Aero", "Touring"),
        ("Road Bike", "Helmet", "Wheelset", "Pannier Bag", "Cycling Jersey"),
        ("gravel bike", "bike helmet", "panniers"),
    ),
    "Photography": Words(
        ("Mirrorless", "Wide-Angle", "Vintage", "Travel"),
        ("Camera", "Lens", "Tripod", "Film Roll", "Camera Strap"),
        ("wide angle lens", "35mm film", "travel tripod"),
    ),
    "Coffee": Words(
        ("Ethiopian", "Dark Roast", "Single Origin", "Decaf"),
        ("Coffee Beans", "Pour-Over Kit", "Burr Grinder", "Espresso Cup", "Milk Frother"),
        ("light roast beans", "burr grinder", "pour over"),
    ),
    "Baking": Words(
        ("Sourdough", "Cast Iron", "Rye", "Pastry"),
        ("Starter Kit", "Baking Stone", "Proofing Basket", "Loaf Pan", "Rolling Pin"),
        ("sourdough starter", "bread pan", "proofing basket"),
    ),
    "Gardening": Words(
        ("Heirloom", "Balcony", "Organic", "Raised-Bed"),
        ("Tomato Seeds", "Planter", "Compost Bin", "Pruning Shears", "Herb Collection"),
        ("tomato seeds", "balcony planter", "compost"),
    ),
    "Science Fiction": Words(
        ("The Last", "Children of", "Beyond", "A Memory of"),
        ("Orbit", "Titan", "the Machine", "Andromeda", "the Long Night"),
        ("space opera", "first contact novel", "robots"),
    ),
    "Crime Novels": Words(
        ("Murder in", "The Silence of", "Cold Case", "Detective Moran and"),
        ("Lisbon", "the Harbour", "Ward Seven", "the Red Door", "the Archive"),
        ("nordic noir", "detective series", "unsolved murder"),
    ),
    "World History": Words(
        ("A Short History of", "The Rise of", "Letters from", "Maps of"),
        ("Byzantium", "the Silk Road", "the Hanse", "Mali", "the Atlantic"),
        ("silk road history", "byzantine empire", "old maps"),
    ),
    "Jazz": Words(
        ("Blue", "Midnight", "Live at", "Variations on"),
        ("Quartet Sessions", "the Cellar", "Harlem", "Monk's Corner", "Sunday Standards"),
        ("hard bop", "piano trio", "live jazz"),
    ),
    "Guitars": Words(
        ("Semi-Hollow", "Twelve-String", "Baritone", "Parlour"),
        ("Guitar", "Tube Amp", "Overdrive Pedal", "Capo", "String Set"),
        ("tube amp", "overdrive", "acoustic strings"),
    ),
    "Board Games": Words(
        ("Merchants of", "Siege of", "Islands of", "Secrets of"),
        ("Venice", "Carcosa", "the North", "Petra", "the Guild"),
        ("cooperative board game", "two player game", "strategy game"),
    ),
    "Home Networking": Words(
        ("Mesh", "Dual-Band", "Rack-Mount", "Outdoor"),
        ("Router", "Access Point", "Network Switch", "Patch Panel", "Storage Server"),
        ("mesh wifi", "poe switch", "home server"),
    ),
    "Yoga": Words(
        ("Cork", "Restorative", "Travel", "Natural Rubber"),
        ("Yoga Mat", "Bolster", "Meditation Cushion", "Yoga Block", "Stretch Strap"),
        ("yoga mat", "meditation", "stretching"),
    ),
    "Travel in Japan": Words(
        ("Kyoto", "Hokkaido", "Island-Hopping", "Slow"),
        ("Rail Guide", "Onsen Handbook", "Temple Walks", "Food Map", "Phrase Book"),
        ("kyoto in autumn", "japan rail", "onsen"),
    ),
    "中国茶": Words(
        ("西湖", "武夷", "陈年", "高山"),
        ("龙井绿茶", "大红袍", "普洱茶饼", "紫砂壶", "茉莉花茶"),
        ("绿茶", "紫砂壶", "普洱"),
    ),
    "武侠小说": Words(
        ("江湖", "雪山", "孤城", "长安"),
        ("夜雨录", "剑客传", "刀影", "飞侠", "风云记"),
        ("武侠", "剑客", "江湖故事"),
    ),
    "科幻电影": Words(
        ("流浪", "深空", "时间", "量子"),
        ("行星", "信号", "边缘", "迷城", "归途"),
        ("科幻电影", "太空", "外星人"),
    ),
    "书法": Words(
        ("行书", "楷书", "初学", "名家"),
        ("毛笔套装", "宣纸", "字帖", "砚台", "墨条"),
        ("毛笔", "字帖", "宣纸"),
    ),
}
