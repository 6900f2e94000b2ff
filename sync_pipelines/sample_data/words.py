"""The words of the sample: names, brands, goods, sizes, colors, places.

Belongs here: plain tuples of words and the few numbers that go with them (a currency's rate and step). Does not
belong here: choosing among them (`world`), exports (the partners' modules).
"""

from __future__ import annotations

from typing import NamedTuple


class Country(NamedTuple):
    """A country the shops sell in; `rate` is units of its currency for one dollar, `step` its smallest price step."""

    code: str
    currency: str
    rate: float
    step: float
    utc_offset: str


class City(NamedTuple):
    """A city: its country's code, and where it lies; `dial` begins its telephone numbers."""

    country: str
    name: str
    region: str
    commune: str
    zip_code: str
    latitude: float
    longitude: float
    dial: str


class Good(NamedTuple):
    """A kind of product: its code in SKUs, price range in dollars, and what it varies in."""

    code: str
    low: float
    high: float
    sizes: tuple[str, ...]
    colors: tuple[str, ...]


COUNTRIES = (
    Country("CL", "CLP", 940.0, 10.0, "-04:00"),
    Country("BR", "BRL", 5.4, 0.1, "-03:00"),
    Country("MX", "MXN", 18.5, 0.5, "-06:00"),
    Country("AR", "ARS", 1180.0, 0.25, "-03:00"),
    Country("CO", "COP", 4050.0, 50.0, "-05:00"),
    Country("PE", "PEN", 3.7, 0.1, "-05:00"),
    Country("EC", "USD", 1.0, 0.01, "-05:00"),
)

FIRST_NAMES = (
    "Camila", "Benjamín", "Valentina", "Matías", "Isidora", "Joaquín", "Antonella", "Thiago", "Renata", "Emiliano",
    "Luciana", "Bastián", "Mariana", "Agustín", "Fernanda", "Caio", "Ximena", "Iñaki", "Rocío", "Nicolás",
    "Jimena", "João", "Pilar", "Heloísa", "Andrés", "Micaela", "Ezequiel", "Yara", "Gustavo", "Noemí",
)  # fmt: skip

LAST_NAMES = (
    "Rojas", "Quispe", "Silva", "Muñoz", "Cárdenas", "Figueiredo", "Ibáñez", "Mamani", "Peralta", "Sepúlveda",
    "Teixeira", "Zambrano", "Ortega", "Villalobos", "Araújo", "Núñez", "Castaño", "Huamán", "Barrios", "Leiva",
    "Moreira", "Escobar", "Gutiérrez", "Tapia", "Ocampo", "Saavedra", "Brandão", "Pacheco", "Urrutia", "Valdés",
)  # fmt: skip

MAIL_DOMAINS = ("correo.example", "mail.example", "postal.example", "example.com", "example.org")

COLORS = (
    "azul", "rojo", "verde oliva", "negro", "blanco", "café", "amarillo", "gris claro", "vermelho", "preto",
    "azul-marinho", "marrón", "rosa pálido",
)  # fmt: skip
LETTER_SIZES = ("XS", "S", "M", "L", "XL", "XXL", "Talla única")

GROCERY_BRANDS = (
    "Valle Claro", "Doña Inés", "Cerro Pan", "Sureña", "La Esquina", "Grano & Miel", "Puerto Viejo", "Lácteos Ñuble",
)  # fmt: skip
GROCERY_GOODS = (
    Good("LECHE", 0.9, 1.8, ("1l", "500 ml", "1.5 L", "200ml"), ()),
    Good("ACEIT", 2.5, 9.0, ("900 ml", "1 L", "5l"), ()),
    Good("ARROZ", 0.8, 4.5, ("1 kg", "500 g", "5kg", "1/2 kg"), ()),
    Good("CAFE", 3.0, 12.0, ("250 g", "500g", "1 kg"), ()),
    Good("AGUA", 0.4, 1.6, ("600 ml", "1.6 l", "6 L"), ()),
    Good("VINO", 3.5, 28.0, ("750 ml", "375 ml", "1.5 l"), ("tinto", "blanco", "rosado")),
    Good("PAPEL", 1.2, 7.5, ("4 un", "12 un", "24 rollos"), ()),
    Good("DETER", 2.0, 11.0, ("800 ml", "3 L", "1.2 kg"), ()),
    Good("MATE", 1.8, 6.2, ("500 g", "1 kg"), ()),
    Good("BOLSA", 0.1, 0.3, (), ("verde", "blanca")),
)

FASHION_BRANDS = (
    "Tierra Brava", "Marejada", "Casa Ombú", "Telar, Hilo & Cía", "Norte Chico", 'Bazar "El Puente"', "Jacarandá",
    "Aldeia Azul",
)  # fmt: skip
FASHION_GOODS = (
    Good("POLER", 8.0, 24.0, LETTER_SIZES, COLORS),
    Good("JEANS", 22.0, 65.0, ("36", "38", "40", "42", "44", "46"), ("azul", "negro", "gris claro")),
    Good("VESTI", 25.0, 90.0, LETTER_SIZES, COLORS),
    Good("ZAPAT", 30.0, 120.0, ("35", "36", "37", "38", "39", "40", "41", "42.5"), COLORS),
    Good("MOCHI", 18.0, 75.0, ("20 L", "28 l", "35L"), COLORS),
    Good("GORRO", 4.0, 15.0, ("Talla única",), COLORS),
    Good("PERFU", 15.0, 80.0, ("50 ml", "100ml", "30 ml"), ()),
    Good("TELA", 5.0, 14.0, ("1.5 m", "3 m", "50 cm"), COLORS),
)

CHANNELS = ("app", "web", "tienda", "call center", "marketplace")

CITIES = (
    City("CL", "Santiago", "Metropolitana", "Ñuñoa", "7750000", -33.4569, -70.5975, "+562"),
    City("CL", "Valparaíso", "Valparaíso", "Cerro Alegre", "2340000", -33.0472, -71.6127, "+5632"),
    City("CL", "Concepción", "Biobío", "Hualpén", "4030000", -36.8270, -73.0503, "+5641"),
    City("CL", "Antofagasta", "Antofagasta", "Antofagasta", "0240000", -23.6509, -70.3975, "+5655"),
    City("AR", "Buenos Aires", "CABA", "Núñez", "C1428", -34.5453, -58.4497, "+5411"),
    City("AR", "Córdoba", "Córdoba", "Güemes", "X5000", -31.4201, -64.1888, "+54351"),
    City("AR", "Mendoza", "Mendoza", "Godoy Cruz", "M5501", -32.9263, -68.8448, "+54261"),
    City("BR", "São Paulo", "SP", "Pinheiros", "05422-010", -23.5614, -46.6823, "+5511"),
    City("BR", "Curitiba", "PR", "Batel", "80420-090", -25.4411, -49.2908, "+5541"),
    City("MX", "Ciudad de México", "CDMX", "Coyoacán", "04100", 19.3467, -99.1617, "+5255"),
    City("MX", "Guadalajara", "Jalisco", "Zapopan", "45100", 20.7214, -103.3918, "+5233"),
    City("MX", "Mérida", "Yucatán", "Centro", "97000", 20.9674, -89.5926, "+52999"),
    City("CO", "Bogotá", "Cundinamarca", "Chapinero", "110231", 4.6486, -74.0628, "+571"),
    City("CO", "Medellín", "Antioquia", "El Poblado", "050021", 6.2088, -75.5679, "+574"),
)
STREETS = (
    "Av. Los Leones", "25 de Mayo", "Calle 10", "Rua das Acácias", "Av. Insurgentes", "San Martín", "O'Higgins",
    "Carrera 43A", "Av. Independencia", "Los Ñandúes", "Rua José Bonifácio", "Pasaje El Quillay", "Benito Juárez",
    "Diagonal Norte", 'Camino "La Vega"', "Av. Arequipa",
)  # fmt: skip

TRADES = (
    "Almacén", "Minimarket", "Botillería", "Panadería", "Ferretería", "Farmacia", "Mercearia", "Abarrotes", "Kiosco",
    "Verdulería", "Carnicería", "Padaria",
)  # fmt: skip
TRADE_NAMES = (
    "Don Tito", "La Estrella", "El Porvenir", "Santa Rosa", "Tres Hermanos", "San Cayetano", "La Ñusta", "Bom Preço",
    "Los Aromos", "El Trébol", "Nueva Esperanza", "Pérez & Hijos", "La Unión", "O Cantinho", "Rincón Sureño",
    '"El Güero"', "Punta Arenas", "La Fe", "Doña Meche", "Siete Esquinas",
)  # fmt: skip
BOUTIQUES = ("Boutique", "Tienda", "Casa", "Loja", "Modas", "Vestuario")
PAYMENT_TERMS = ("contado", "7-dias", "30-dias", "60-dias", "boleto-28")
ROLES = ("OWNER", "MANAGER", "BUYER", "CASHIER")
PLANS = ("básico", "pro", "empresa")
