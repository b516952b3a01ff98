"use strict";
// Surface of equal density by surface nets (Gibson 1998): a vertex in every cell that the level crosses, at the mean of
// where it crosses the cell's edges, and a quadrangle about every crossed edge. 3Dmol's own surfaces follow voxels.

const CELL_EDGES = [[0, 1], [2, 3], [4, 5], [6, 7], [0, 2], [1, 3], [4, 6], [5, 7], [0, 4], [1, 5], [2, 6], [3, 7]];

// values: z, y, x order, x fastest; level in their unit; voxel and origin [x, y, z] in angstrom.
function isosurface({ values, shape, voxel, origin }, level) {
  const [nz, ny, nx] = shape;
  const stride = [1, nx, nx * ny];
  const corner = Array.from({ length: 8 }, (_, c) => (c & 1) * stride[0] + ((c >> 1) & 1) * stride[1] + (c >> 2) * stride[2]);
  const vertexOf = new Int32Array(values.length).fill(-1);
  const vertexArr = [], normalArr = [], faceArr = [];
  for (let z = 0; z < nz - 1; z++) {
    for (let y = 0; y < ny - 1; y++) {
      for (let x = 0; x < nx - 1; x++) {
        const at = x * stride[0] + y * stride[1] + z * stride[2];
        let mask = 0;
        for (let c = 0; c < 8; c++) if (values[at + corner[c]] > level) mask |= 1 << c;
        if (mask === 0 || mask === 255) continue;
        let px = 0, py = 0, pz = 0, crossed = 0;
        for (const [a, b] of CELL_EDGES) {
          if (((mask >> a) & 1) === ((mask >> b) & 1)) continue;
          const low = values[at + corner[a]], part = (level - low) / (values[at + corner[b]] - low);
          px += (a & 1) + part * ((b & 1) - (a & 1));
          py += ((a >> 1) & 1) + part * (((b >> 1) & 1) - ((a >> 1) & 1));
          pz += (a >> 2) + part * ((b >> 2) - (a >> 2));
          crossed++;
        }
        let gx = 0, gy = 0, gz = 0;
        for (let c = 0; c < 8; c++) {
          const value = values[at + corner[c]];
          gx += c & 1 ? -value : value;
          gy += c & 2 ? -value : value;
          gz += c & 4 ? -value : value;
        }
        const length = Math.hypot(gx, gy, gz) || 1;
        vertexOf[at] = vertexArr.length;
        vertexArr.push({
          x: origin[0] + voxel * (x + px / crossed),
          y: origin[1] + voxel * (y + py / crossed),
          z: origin[2] + voxel * (z + pz / crossed),
        });
        normalArr.push({ x: gx / length, y: gy / length, z: gz / length });
      }
    }
  }
  const place = [0, 0, 0];
  for (place[2] = 0; place[2] < nz - 1; place[2]++) {
    for (place[1] = 0; place[1] < ny - 1; place[1]++) {
      for (place[0] = 0; place[0] < nx - 1; place[0]++) {
        const at = place[0] * stride[0] + place[1] * stride[1] + place[2] * stride[2];
        const inside = values[at] > level;
        for (let axis = 0; axis < 3; axis++) {
          const u = (axis + 1) % 3, v = (axis + 2) % 3;
          if (place[u] === 0 || place[v] === 0 || inside === values[at + stride[axis]] > level) continue;
          const ring = [at, at - stride[u], at - stride[u] - stride[v], at - stride[v]].map((cell) => vertexOf[cell]);
          const [a, b, c, d] = inside ? ring : ring.reverse();
          faceArr.push(a, b, c, a, c, d);
        }
      }
    }
  }
  return { vertexArr, normalArr, faceArr };
}
