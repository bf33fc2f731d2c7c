# %% [markdown]
# # Look at the light
#
# Simulate a window of a layout, look at what prints, and work with the image as an array. Paths
# are those of a checkout; any GDSII or OASIS file does.

# %%
import hotscan

sim = hotscan.simulate("sample_layouts/dense.gds.gz", layer="met1", tech="sky130A", out="light_run",
    roi=(53.5, 49.9, 56.5, 52.8), image=("png", "zarr"), progress=False)  # fmt: skip
sim.picture("png")

# %% [markdown]
# The same window as numbers. `sim.image` is a Zarr group: `intensity` at every corner of the
# process window, `band`, and the drawn shapes as `target`, with their places in nm and in database
# units. With xarray: `xarray.open_dataset(sim.path / "image.zarr", engine="zarr",
# consolidated=False)`.

# %%
light = sim.image["intensity"]
prints = light[:] > light.attrs["prints_above"]
dict(zip(sim.image["corner"][:], prints.mean(axis=(1, 2)).round(3).tolist(), strict=True))

# %% [markdown]
# The image of polygons that are in no file, at a corner of the process window: two line ends,
# 160 nm apart.

# %%
ends = [[(0, y), (140, y), (140, y + 900), (0, y + 900)] for y in (0, 1060)]
hotscan.aerial_image(ends, "krf130", "under", window_nm=(-400, 500, 540, 1460))
