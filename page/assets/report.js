take(JSON.parse($("data").textContent));
