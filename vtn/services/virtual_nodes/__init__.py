"""Operations on virtual nodes after IEC 61968-5: create, maintain, delete, query; capability, status, forecast,
dispatch. `messages` has the names of the standard."""
