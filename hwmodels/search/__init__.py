"""Design-space search: the best legal design, by gradient descent over every hardware model here."""

from hwmodels.search.constraints import Constraint as Constraint
from hwmodels.search.ledger import DivergedError as DivergedError
from hwmodels.search.minimise import InfeasibleError as InfeasibleError
from hwmodels.search.minimise import Optimum as Optimum
from hwmodels.search.minimise import minimise as minimise
from hwmodels.search.parameters import Choice as Choice
from hwmodels.search.parameters import Enumerated as Enumerated
from hwmodels.search.parameters import Integer as Integer
from hwmodels.search.parameters import Real as Real
