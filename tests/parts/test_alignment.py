import torch

from medssl.parts.alignment import ConditionalAlignment


def build():
    torch.manual_seed(0)
    return ConditionalAlignment(6, heads=2, head_width=3, hidden=8).double()


def tokens(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_attention_agrees_with_a_loop():
    align, asked, held = build(), tokens(2, 4, 6), tokens(2, 5, 6, seed=1)
    answer = align(asked, held)
    for b in range(2):
        key, value = align.held(align.held_norm(held[b])).chunk(2, dim=-1)
        for place in range(4):
            query = align.asked(align.asked_norm(asked[b, place]))
            found = []
            for head in range(2):
                part = slice(3 * head, 3 * head + 3)
                weights = [torch.exp(query[part] @ key[n, part] / 3**0.5) for n in range(5)]
                total = sum(weights)
                found.append(sum(w / total * value[n, part] for n, w in enumerate(weights)))
            aligned = align.attention_norm(align.out(torch.cat(found)))
            expected = align.norm(aligned + align.perceptron(aligned))
            torch.testing.assert_close(answer[b, place], expected)


def test_what_asks_does_not_enter_the_answer():
    """With a skip connection, places would answer for themselves whatever the other crop holds."""
    align = build()
    held = tokens(1, 1, 6).expand(1, 5, 6)  # the same wherever one looks
    torch.testing.assert_close(align(tokens(1, 4, 6), held), align(tokens(1, 4, 6, seed=9), held))
    assert not torch.allclose(align(tokens(1, 4, 6), held), align(tokens(1, 4, 6), -held))
