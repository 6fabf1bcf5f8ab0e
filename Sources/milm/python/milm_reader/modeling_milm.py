"""milm's language models for transformers: a copy of this file and of model.py is in each exported directory.

The state of the recurrence takes the place of a cache of keys and values: pass `state` of one call's output to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from .model import LanguageModel, Shape


class MilmConfig(PretrainedConfig):
    """The sizes of a model."""

    model_type = "milm"

    def __init__(
        self, variant: str = "lstm", form: str = "full", vocab_size: int = 2, embedding: int = 1, hidden_size: int = 1,
        decoder_context: int = 0, encoder_context: int = 0, rank: int = 0, **kwargs,
    ):
        self.variant = variant
        self.form = form
        self.vocab_size = vocab_size
        self.embedding = embedding
        self.hidden_size = hidden_size
        self.decoder_context = decoder_context
        self.encoder_context = encoder_context
        self.rank = rank
        # Input and softmax share one matrix, which the model holds once.
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**kwargs)

    @property
    def shape(self) -> Shape:
        return Shape(
            self.variant, self.form, self.vocab_size, self.embedding, self.hidden_size, self.decoder_context,
            self.encoder_context, self.rank,
        )


@dataclass
class MilmOutput(ModelOutput):
    """Loss in nats per token, logits, and the state after the last token: h, c, and all tokens that it has read."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    state: tuple[Tensor, Tensor, Tensor] | None = None


class MilmForCausalLM(PreTrainedModel, GenerationMixin):
    """A model that predicts each token from those before it; a text begins with `<eos>`, as the tokenizer writes it."""

    config_class = MilmConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    _is_stateful = True
    _no_split_modules = ["LanguageModel"]

    def __init__(self, config: MilmConfig):
        super().__init__(config)
        self.model = LanguageModel(config.shape)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.embedding

    def set_input_embeddings(self, value):
        self.model.embedding = value

    def _init_weights(self, module):
        """A model that is trained from the beginning is made by milm, not here."""

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None,
        state: tuple[Tensor, Tensor, Tensor] | None = None, logits_to_keep: int = 0, return_dict: bool | None = None,
        **kwargs,
    ) -> MilmOutput | tuple:
        if state is None:
            h, c = self.model.zero_state(input_ids.shape[0])
            seen = input_ids
        else:
            h, c, before = state
            seen = torch.cat([before, input_ids], dim=1)
        z, h, c = self._read(input_ids.T, attention_mask, h, c)
        z = z.transpose(0, 1)
        logits = self.model.logits(z[:, -logits_to_keep:] if logits_to_keep else z)
        loss = None
        if labels is not None:
            count = kwargs.get("num_items_in_batch")
            loss = self.loss_function(logits, labels, self.config.vocab_size, num_items_in_batch=count)
        output = MilmOutput(loss=loss, logits=logits, state=(h, c, seen))
        return output if return_dict is not False else output.to_tuple()

    def _read(self, words: Tensor, mask: Tensor | None, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Runs through T × B tokens; a token that the mask leaves out does not change the state."""
        if mask is None or bool(mask.all()):
            return self.model(words, h, c)
        outputs = []
        for word, is_read in zip(words.split(1), mask.T[-len(words) :].bool().unsqueeze(-1)):
            z, next_h, next_c = self.model(word, h, c)
            h, c = torch.where(is_read, next_h, h), torch.where(is_read, next_c, c)
            outputs.append(z)
        return torch.cat(outputs), h, c

    def prepare_inputs_for_generation(self, input_ids, state=None, attention_mask=None, logits_to_keep=1, **kwargs):
        """Only tokens that the state has not read; all where the state is that of another text."""
        if state is not None:
            seen = state[2]
            length = seen.shape[1]
            if length < input_ids.shape[1] and torch.equal(input_ids[:, :length], seen):
                input_ids = input_ids[:, length:]
            else:
                state = None
        return {
            "input_ids": input_ids, "state": state, "attention_mask": attention_mask, "logits_to_keep": logits_to_keep,
        }

    @staticmethod
    def _reorder_cache(state, beams: Tensor):
        """The state of the beams that a search keeps; transformers knows `state` as the name of a cache."""
        return tuple(part.index_select(0, beams) for part in state)

    def _update_model_kwargs_for_generation(self, outputs, model_kwargs, *arguments, **kwargs):
        model_kwargs = super()._update_model_kwargs_for_generation(outputs, model_kwargs, *arguments, **kwargs)
        model_kwargs["state"] = outputs.state
        return model_kwargs
