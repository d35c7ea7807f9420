// Log in (take a token and an id out of the JSON), read the item with both, put it in the cart.
import http from 'k6/http';
import { check } from 'k6';
export const options = { vus: Number(__ENV.WORKERS), iterations: Number(__ENV.ITERATIONS) };
export default function () {
  const a = http.get(`${__ENV.TARGET}/login`);
  check(a, { ok: (r) => r.status === 200 });
  const token = a.json('auth.token'), id = a.json('items.2.id');
  const b = http.get(`${__ENV.TARGET}/items/${id}`, { headers: { Authorization: `Bearer ${token}` } });
  check(b, { ok: (r) => r.status === 200, hello: (r) => r.body.includes('hello') });
  const c = http.post(`${__ENV.TARGET}/cart`, `{"id":${id},"quantity":1}`, { headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' } });
  check(c, { ok: (r) => r.status === 200 });
}
