"""Memristive crossbars: circuit, devices, mapping, deployment."""

from hwmodels.crossbar.circuit import Wires as Wires
from hwmodels.crossbar.circuit import effective_conductance as effective_conductance
from hwmodels.crossbar.deploy import deploy as deploy
from hwmodels.crossbar.deploy import deployment_report as deployment_report
from hwmodels.crossbar.deploy import program as program
from hwmodels.crossbar.device import Device as Device
from hwmodels.crossbar.device import Variation as Variation
from hwmodels.crossbar.mapping import Crossbar as Crossbar
from hwmodels.crossbar.operating_point import OperatingPoint as OperatingPoint
from hwmodels.crossbar.operating_point import operating_point as operating_point
